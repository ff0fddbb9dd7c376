(() => {
  "use strict";
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const charts = [...document.querySelectorAll("[data-chart]")];
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = {
    displaylogo: false,
    showSendToCloud: false,
    plotlyServerURL: "",
    responsive: true,
    doubleClick: "reset+autosize",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  };
  const shown = {};

  /** A name that fits a narrow screen: its words cut to three letters from the left on, numbers kept. */
  const shortened = (name, most) => {
    if (!name.includes(".")) return name;
    const parts = name.split(".");
    for (let i = 0; i < parts.length && parts.join(".").length > most; i++) {
      parts[i] = parts[i].replace(/[a-z_]{4,}/gi, (word) => word.slice(0, 3));
    }
    const made = parts.join(".");
    return made.length > most ? "…" + made.slice(1 - most) : made;
  };

  /** Traces with the hover texts that would be too large to be written out. */
  const filled = (trace) => {
    if (trace.type !== "heatmap") return structuredClone(trace);
    const { names, sizes, episodes, scores } = trace.meta;
    const hovertext = trace.z.map((row, i) =>
      row.map((share, j) => {
        const kept = `keeps ${Math.round(share * sizes[i])} of ${sizes[i]}`;
        return `<b>${names[i]}</b><br>episode ${episodes[j]}, score ${scores[j]}<br>${kept}`;
      }));
    return { ...structuredClone(trace), hovertext };
  };

  const fitted = (view, width) => {
    const layout = structuredClone(view.layout);
    layout.dragmode = touch ? false : "zoom";
    if (width < 560) {
      layout.font.size = 11;
      const most = Math.max(12, Math.floor(width / 16));
      if (layout.yaxis.ticktext) layout.yaxis.ticktext = layout.yaxis.ticktext.map((n) => shortened(n, most));
      layout.xaxis.nticks = 5;
      layout.legend.entrywidthmode = "fraction";
      layout.legend.entrywidth = 0.48;
      if (layout.legend.y < 0) layout.legend.y = -0.3;
      if (layout.barmode) layout.xaxis.range = [0, 1.18 * layout.xaxis.range[1]];
    }
    return layout;
  };

  const draw = (chart, width) => {
    const name = chart.dataset.chart;
    const view = specs[name][shown[name] ?? 0];
    const layout = fitted(view, width ?? chart.clientWidth);
    const data = view.data.map(filled);
    const room = width ?? chart.clientWidth;
    if (room < 560) data.forEach((trace) => { trace.name = shortened(trace.name ?? "", 11); });
    if (room < 800) data.forEach((trace) => {
      if (trace.text) trace.text = trace.text.map((text) => text.split(" · ")[0]);
    });
    if (width) Object.assign(layout, { width, autosize: false, height: Math.min(layout.height, 780) });
    chart.style.minHeight = "";
    const bar = touch || layout.font.size < 12 ? false : "hover";
    return Plotly.react(chart, data, layout, { ...config, displayModeBar: bar });
  };

  /** Legend entries and buttons of the tool bar can be reached and used with the keyboard. */
  const keyboard = (chart) => {
    chart.querySelectorAll(".modebar-btn").forEach((button) => {
      button.setAttribute("aria-label", button.dataset.title ?? "");
      if (button.tagName === "BUTTON") return;
      button.tabIndex = 0;
      button.setAttribute("role", "button");
      button.onkeydown = (event) => { if (event.key === "Enter") button.click(); };
    });
    chart.querySelectorAll(".legend .traces").forEach((entry) => {
      const trace = entry.__data__?.[0]?.trace;
      if (!trace) return;
      entry.setAttribute("tabindex", "0");
      entry.setAttribute("role", "switch");
      entry.setAttribute("aria-checked", String(trace.visible === true));
      entry.setAttribute("aria-label", trace.name);
      entry.onkeydown = (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        const visible = trace.visible === true ? "legendonly" : true;
        Plotly.restyle(chart, { visible }, [trace.index]).then(() => {
          [...chart.querySelectorAll(".legend .traces")]
            .find((other) => other.__data__?.[0]?.trace.index === trace.index)?.focus();
        });
      };
    });
  };

  document.querySelectorAll("[data-views]").forEach((select) => {
    select.addEventListener("change", () => {
      const chart = charts.find((c) => c.dataset.chart === select.dataset.views);
      shown[select.dataset.views] = Number(select.value);
      draw(chart);
    });
  });

  for (const chart of charts) {
    draw(chart);
    keyboard(chart);
    chart.on("plotly_afterplot", () => keyboard(chart));
  }

  /* A sheet of paper is narrower than most screens: charts are drawn anew for it, and again afterwards. */
  const PAPER = 670;
  const table = document.querySelector("[data-print]");
  let open = true;
  addEventListener("beforeprint", () => {
    if (table) [open, table.open] = [table.open, true];
    charts.forEach((chart) => draw(chart, PAPER));
  });
  addEventListener("afterprint", () => {
    if (table) table.open = open;
    charts.forEach((chart) => draw(chart));
  });
  let narrow = innerWidth < 600;
  addEventListener("resize", () => {
    if (narrow === innerWidth < 600) return;
    narrow = !narrow;
    charts.forEach((chart) => draw(chart));
  });
  document.documentElement.dataset.ready = "true";
})();
