// Draws the charts of the page, those in the window first; again when the reader switches between light and dark.
// Arms and seeds that are switched off are switched off in every chart.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const themes = read("themes");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const places = [...document.querySelectorAll(".chart")];
  const root = document.documentElement;
  const state = { hidden_arms: [], hidden_seeds: [], single_runs: false };
  const drawn = new Map(); // place -> what vega-embed made
  const turned = new Map(); // place -> axes that the reader has turned
  let round = 0;

  // Undoes pack.py.
  function rows({ n, columns }) {
    const made = Array.from({ length: n }, () => ({}));
    for (const [name, column] of Object.entries(columns)) {
      if (Array.isArray(column)) column.forEach((value, i) => (made[i][name] = value));
      else {
        let i = 0;
        let sum = 0;
        for (const [value, count] of column.runs || column.steps)
          for (let k = 0; k < count; k++) made[i++][name] = column.runs ? value : (sum += value);
      }
    }
    return made;
  }

  function definition(place) {
    const spec = JSON.parse(place.nextElementSibling.textContent);
    for (const name in spec.datasets) spec.datasets[name] = rows(spec.datasets[name]);
    for (const param of spec.params || []) if (param.name in state) param.value = state[param.name];
    const width = place.clientWidth;
    if (spec.facet) {
      const gap = 18;
      const room = width - 60; // the axis and its title
      spec.spec.width = Math.min(spec.spec.width, Math.floor(room / 2) - gap); // two side by side on a phone
      spec.columns = Math.min(spec.columns, Math.floor(room / (spec.spec.width + gap)));
    }
    for (const layer of spec.layer || [])
      for (const name of ["color", "shape", "strokeDash"]) fit(layer.encoding?.[name], width);
    for (const axis of turned.get(place) || []) spec.layer.forEach((layer) => turn(layer.encoding?.[axis]));
    return spec;
  }

  // As many entries of a legend in a row as there is room for: a symbol and some 7 pixels a letter each.
  function fit(channel, width) {
    if (!channel?.legend || !channel.scale?.domain) return;
    const longest = Math.max(...channel.scale.domain.map((name) => String(name).length));
    const most = channel.legend.columns || channel.scale.domain.length;
    channel.legend.columns = Math.max(1, Math.min(most, Math.floor((width - 70) / (46 + 7 * longest))));
  }

  // A linear axis becomes logarithmic, a logarithmic one linear.
  function turn(channel) {
    if (!channel || channel.type !== "quantitative") return;
    const was = channel.scale?.type === "log";
    channel.scale = was ? { zero: true, nice: true } : { type: "log", nice: false };
    if (channel.axis && was) channel.axis = { ...channel.axis, values: undefined, labelExpr: undefined, format: "~g" };
  }

  // Entries of the legend of arms can be clicked, and fade while their arm is off.
  function legends(spec) {
    const shown = { signal: "indexof(hidden_arms, datum.value) < 0 ? 1 : 0.3" };
    const ours = (legend) => spec.signals?.some((s) => s.name === "hidden_arms") && legend.stroke === "color";
    for (const legend of (spec.legends || []).filter(ours)) {
      legend.encode = legend.encode || {};
      for (const part of ["symbols", "labels"]) {
        const had = legend.encode[part] || {};
        const update = { ...had.update, opacity: shown, cursor: { value: "pointer" } };
        legend.encode[part] = { ...had, interactive: true, update };
      }
    }
    return spec;
  }

  async function draw(place, theme) {
    const spec = definition(place);
    const axes = spec.usermeta?.turns || [];
    drawn.get(place)?.finalize();
    try {
      const result = await vegaEmbed(place, spec, {
        renderer: "svg",
        logLevel: 1, // errors: a chart whose arms are all switched off warns that it has no extent
        config: theme,
        patch: legends,
        tooltip: { theme: theme === themes.dark ? "dark" : "light" },
        actions: { export: true, source: false, compiled: false, editor: false },
        downloadFileName: place.id,
      });
      drawn.set(place, result);
      result.view.addEventListener("click", (event, item) => {
        if (item?.mark?.role?.startsWith("legend-") && arms.has(item.datum.value)) toggle(arms, item.datum.value);
      });
      tools(place, axes, theme);
    } catch (error) {
      place.classList.add("failed");
      place.textContent = `This chart could not be drawn: ${error}`;
    }
  }

  function tools(place, axes, theme) {
    if (!axes.length) return;
    const bar = document.createElement("div");
    bar.className = "tools";
    for (const axis of axes) {
      const button = bar.appendChild(document.createElement("button"));
      const on = (turned.get(place) || []).includes(axis);
      button.textContent = `log ${axis}`;
      const first = JSON.parse(place.nextElementSibling.textContent).layer[0].encoding[axis]?.scale?.type === "log";
      button.setAttribute("aria-pressed", String(first !== on));
      button.addEventListener("click", () => {
        const now = turned.get(place) || [];
        turned.set(place, on ? now.filter((one) => one !== axis) : [...now, axis]);
        draw(place, theme);
      });
    }
    place.appendChild(bar);
  }

  // Charts one after the other, and between them the page may answer.
  async function all(theme) {
    const mine = ++round;
    const middle = (place) => place.getBoundingClientRect().top - window.innerHeight / 2;
    const order = [...places].sort((a, b) => Math.abs(middle(a)) - Math.abs(middle(b)));
    delete root.dataset.charts;
    for (const place of order) {
      await draw(place, theme);
      await new Promise((next) => setTimeout(next));
      if (mine !== round) return;
    }
    root.dataset.charts = String(drawn.size);
  }

  function tell() {
    for (const { view } of drawn.values()) {
      let known = false;
      for (const [name, value] of Object.entries(state)) {
        try {
          view.signal(name, value);
          known = true;
        } catch {
          break; // a chart without arms
        }
      }
      if (known) view.runAsync();
    }
  }

  // Switches: a chip each, pressed while its arm or seed is shown.
  const arms = new Map();
  const seeds = new Map();

  function chips(group, values, into) {
    const box = document.getElementById(group);
    if (!box) return;
    for (const { value, label, colour, dash } of values) {
      const chip = box.appendChild(document.createElement("button"));
      chip.className = "chip";
      if (colour) {
        const line = chip.appendChild(document.createElement("i"));
        line.style.borderTop = `3px ${dash ? "dashed" : "solid"} ${colour}`;
      }
      chip.append(label);
      chip.addEventListener("click", () => toggle(into, value));
      into.set(value, chip);
    }
    for (const button of box.parentElement.querySelectorAll("[data-all]"))
      button.addEventListener("click", () => set(into, () => button.dataset.all === "true"));
  }

  const pressed = (chip) => chip.getAttribute("aria-pressed") !== "false";
  const toggle = (group, value) => set(group, (one) => pressed(group.get(one)) !== (one === value));

  function set(group, shown) {
    for (const [value, chip] of group) chip.setAttribute("aria-pressed", String(Boolean(shown(value))));
    const off = [...group].filter(([, chip]) => !pressed(chip)).map(([value]) => value);
    state[group === arms ? "hidden_arms" : "hidden_seeds"] = off;
    const count = document.getElementById("switched-off");
    const total = state.hidden_arms.length + state.hidden_seeds.length;
    if (count) count.textContent = total ? ` (${total} off)` : "";
    tell();
  }

  const switches = document.getElementById("switches");
  if (switches) {
    const values = read("switch-values");
    chips("switch-arms", values.arms, arms);
    chips("switch-seeds", values.seeds, seeds);
    document.getElementById("switch-singles")?.addEventListener("change", (event) => {
      state.single_runs = event.target.checked;
      tell();
    });
  }

  const redraw = () => all(dark.matches ? themes.dark : themes.light);
  dark.addEventListener("change", redraw);
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (width === window.innerWidth) return; // a phone's address bar comes and goes
    width = window.innerWidth;
    redraw();
  });
  redraw();
})();
