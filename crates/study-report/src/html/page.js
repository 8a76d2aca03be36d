"use strict";
// Draws the page's figures and says when all are drawn: <html data-drawn="N" data-failed="N">.
(() => {
  /** Height of the area that holds the data, whatever the legend needs. */
  const AREA = { wide: 380, low: 280, round: 400, roundLow: 230 };
  /** Room for the names at the sides of a round figure. */
  const SIDE = 92;
  /** Narrower than this is a telephone. */
  const NARROW = 560;
  /** Width of a drawing on paper: A4 less its margins. */
  const PAPER = 670;

  const plots = [];

  /** The box around elements, seen from the plot's upper left corner; null where there are none. */
  function box(plot, selector) {
    const origin = plot.getBoundingClientRect();
    let all = null;
    for (const element of plot.querySelectorAll(selector)) {
      const at = element.getBoundingClientRect();
      if (at.width === 0 && at.height === 0) continue;
      const one = {
        left: at.left - origin.left, right: at.right - origin.left,
        top: at.top - origin.top, bottom: at.bottom - origin.top,
      };
      all = all === null ? one : {
        left: Math.min(all.left, one.left), right: Math.max(all.right, one.right),
        top: Math.min(all.top, one.top), bottom: Math.max(all.bottom, one.bottom),
      };
    }
    return all;
  }

  /** The widest of the legend's words. */
  function widest(plot) {
    const words = [...plot.querySelectorAll(".legendtext")];
    return Math.ceil(Math.max(0, ...words.map((word) => word.getBoundingClientRect().width)));
  }

  /** Room for the legend, beneath the axis' title and as high as it is. */
  async function fit(plot, width = plot.clientWidth) {
    const narrow = width < NARROW;
    const low = narrow || width === PAPER;
    const polar = plot.layout.polar !== undefined;
    const usual = polar ? (low ? AREA.roundLow : AREA.round) : (low ? AREA.low : AREA.wide);
    const area = plot.area ?? usual;
    const above = polar ? 84 : plot.layout.margin.t;
    const change = { width, "font.size": narrow ? 12 : 13, "margin.t": above };
    if (polar) {
      // Names around the circle are not counted in its margins.
      Object.assign(change, { "margin.l": SIDE, "margin.r": SIDE });
    }
    const room = (legend, axis) => {
      change.height = above + area + axis + legend + 24;
      change["legend.y"] = -(axis + 8) / area;
      // Columns, as far as there is width.
      change["legend.entrywidth"] = widest(plot);
      return Plotly.relayout(plot, change);
    };
    await room(60, 70);
    const size = plot._fullLayout._size;
    const legend = box(plot, ".legend");
    const axis = box(plot, polar ? ".polarlayer .angularaxistick text" : ".xtick text, .g-xtitle");
    await room(
      legend ? legend.bottom - legend.top : 0,
      axis ? Math.max(0, axis.bottom - size.t - size.h) : 0,
    );
  }

  async function draw(figure) {
    const place = figure.querySelector(".plot");
    try {
      const { data, layout, config } = JSON.parse(
        figure.querySelector('script[type="application/json"]').textContent);
      // A drawing may know how high what it shows is.
      place.area = layout.height;
      if (place.area !== undefined) place.style.minHeight = "0";
      await Plotly.newPlot(place, data, layout, config);
      await fit(place);
      plots.push(place);
      return true;
    } catch (error) {
      place.classList.add("failed");
      place.textContent = `This figure could not be drawn: ${error.message}`;
      return false;
    }
  }

  function save(button) {
    const plot = button.closest("figure").querySelector(".plot");
    const { width, height } = plot._fullLayout;
    return Plotly.downloadImage(plot, { format: "svg", width, height, filename: button.dataset.file });
  }

  function watch() {
    let width = document.documentElement.clientWidth;
    let pending = 0;
    addEventListener("resize", () => {
      if (document.documentElement.clientWidth === width) return;
      width = document.documentElement.clientWidth;
      clearTimeout(pending);
      pending = setTimeout(() => plots.forEach((plot) => fit(plot)), 100);
    });
    addEventListener("beforeprint", () => {
      for (const details of document.querySelectorAll("details:not([open])")) {
        details.open = true;
        details.dataset.closed = "";
      }
      for (const plot of plots) fit(plot, PAPER);
    });
    addEventListener("afterprint", () => {
      for (const details of document.querySelectorAll("details[data-closed]")) {
        details.open = false;
        delete details.dataset.closed;
      }
      for (const plot of plots) fit(plot);
    });
  }

  async function main() {
    performance.mark("begin");
    for (const button of document.querySelectorAll("button.save")) {
      button.addEventListener("click", () => save(button));
    }
    const drawn = await Promise.all([...document.querySelectorAll("figure[data-plot]")].map(draw));
    performance.mark("end");
    watch();
    document.documentElement.dataset.failed = drawn.filter((done) => !done).length;
    document.documentElement.dataset.drawn = drawn.filter((done) => done).length;
  }

  main();
})();
