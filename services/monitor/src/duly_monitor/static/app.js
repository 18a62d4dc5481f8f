// Enhances pages that work without it: the chart, a flash message that shows once.
"use strict";
(() => {
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  let chart = null;

  /** 1, 2 and 5 times each power of ten: whatever the largest figure, some of them fit the axis. */
  const steps = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

  /** Read the figures from the table beside the chart, the one source for it and for screen readers. */
  const figures = () => {
    const rows = [...document.querySelectorAll("#plot-data tbody tr")];
    return [
      rows.map((row) => Number(row.dataset.at)),
      rows.map((row) => Number(row.cells[1].textContent)),
      rows.map((row) => Number(row.cells[2].textContent)),
    ];
  };

  const tooltip = (plot) => {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    return {
      hooks: {
        init: (u) => u.over.append(tip),
        setCursor: (u) => {
          const index = u.cursor.idx;
          tip.hidden = index == null;
          if (index == null) return;
          const at = new Date(u.data[0][index] * 1000).toISOString().slice(11, 16);
          tip.textContent = `${at} · ${u.data[1][index]} processed · ${u.data[2][index]} failed`;
          const left = u.valToPos(u.data[0][index], "x");
          const flip = left > plot.clientWidth / 2;
          tip.style.left = flip ? "" : `${left + 10}px`;
          tip.style.right = flip ? `${u.over.clientWidth - left + 10}px` : "";
          tip.style.top = "6px";
        },
      },
    };
  };

  const draw = () => {
    const plot = document.getElementById("plot");
    if (!plot || !window.uPlot) return;
    if (chart && chart.root.isConnected) {
      chart.setData(figures());
      return;
    }
    plot.replaceChildren();
    const axis = {
      stroke: () => style("--ink-soft"),
      grid: { stroke: () => style("--line"), width: 1 },
      ticks: { show: false },
      font: `12px ${style("--sans")}`,
    };
    const line = (label, name, fill) => ({
      label, stroke: () => style(name), width: 2, points: { show: false },
      fill: fill ? () => `${style(name)}22` : undefined,
    });
    chart = new window.uPlot({
      width: plot.clientWidth, height: plot.clientHeight,
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
      scales: { y: { range: (_, __, most) => [0, Math.max(4, most * 1.1)] } },
      axes: [
        { ...axis, size: 30, values: "{HH}:{mm}", grid: { show: false }, space: 70 },
        { ...axis, size: 44, incrs: steps, values: (_, ticks) => ticks.map(short.format) },
      ],
      series: [{}, line("processed", "--done-line", true), line("failed", "--failed-line", false)],
      plugins: [tooltip(plot)],
    }, figures(), plot);
    new ResizeObserver(() => {
      if (chart.root.isConnected) chart.setSize({ width: plot.clientWidth, height: plot.clientHeight });
    }).observe(plot);
  };

  const forgetFlash = () => {
    const address = new URL(location.href);
    if (!address.searchParams.has("done")) return;
    address.searchParams.delete("done");
    history.replaceState(null, "", address);
  };

  document.addEventListener("duly:live", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart?.redraw());
  forgetFlash();
  draw();
})();
