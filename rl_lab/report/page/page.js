// Draws every chart of the page; again when the reader switches between light and dark, and light for print.
(() => {
  const themes = JSON.parse(document.getElementById("themes").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const places = [...document.querySelectorAll(".chart")];
  let drawn = [];

  async function draw(theme) {
    drawn.forEach((result) => result.finalize());
    drawn = [];
    for (const place of places) {
      const spec = JSON.parse(place.nextElementSibling.textContent);
      try {
        drawn.push(await vegaEmbed(place, spec, {
          renderer: "svg",
          config: theme,
          actions: { export: true, source: false, compiled: false, editor: false },
          downloadFileName: place.id,
        }));
      } catch (error) {
        place.classList.add("failed");
        place.textContent = `This chart could not be drawn: ${error}`;
      }
    }
    document.documentElement.dataset.charts = String(drawn.length);
  }

  const redraw = () => draw(dark.matches ? themes.dark : themes.light);
  dark.addEventListener("change", redraw);
  window.addEventListener("beforeprint", () => dark.matches && draw(themes.light));
  window.addEventListener("afterprint", () => dark.matches && redraw());
  redraw();
})();
