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

  /** The zone of the viewer; days are days of UTC wherever one is. */
  const zone = (span) => (span === "90d" || document.documentElement.dataset.zone === "UTC" ? "UTC" : Intl.DateTimeFormat().resolvedOptions().timeZone);
  const clock = (seconds, span) => new Intl.DateTimeFormat("en-GB", {
    timeZone: zone(span),
    ...(span === "1h" ? {} : { day: "numeric", month: "short" }),
    ...(span === "90d" ? {} : { hour: "2-digit", minute: "2-digit" }),
  }).format(new Date(seconds * 1000));

  /** The hour, and the day where a new one begins. */
  const instants = (span) => (u, ticks) => ticks.map((tick) => {
    const at = u.series[0].time === false ? null : window.uPlot.tzDate(new Date(tick * 1000), zone(span));
    const midnight = at && at.getHours() === 0 && at.getMinutes() === 0;
    return clock(tick, span === "90d" || (span !== "1h" && midnight) ? "90d" : "1h");
  });

  const nameZone = (plot) => {
    const { span } = plot.dataset;
    const data = document.getElementById("plot-data");
    for (const row of data.querySelectorAll("tbody tr")) {
      const cell = row.cells[0];
      if (!cell.title) cell.title = `${new Date(row.dataset.at * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
      const text = clock(Number(row.dataset.at), span);
      if (cell.textContent !== text) cell.textContent = text;
    }
    data.querySelector("[data-zone-name]").textContent = `(${zone(span).replaceAll("_", " ")})`;
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
          const at = clock(u.data[0][index], plot.dataset.span);
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
    nameZone(plot);
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
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1000), zone(plot.dataset.span)),
      legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
      scales: { y: { range: (_, __, most) => [0, Math.max(4, most * 1.1)] } },
      axes: [
        { ...axis, size: 30, values: instants(plot.dataset.span), grid: { show: false }, space: 70 },
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
  document.addEventListener("duly:preferences", () => chart?.redraw());
  forgetFlash();
  draw();
})();
