"use strict";
// Draws what the tables on this page say in numbers. Every colour is the style sheet's, so both themes work.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const charts = [];

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const COLOURS = {
    encode: "encode", process: "encode", drain: "drain", conform: "conform", decode: "decode", open: "open",
    wait: "wait", mux: "write", finish: "drain", check: "check",
  };
  const colour = (name) => css(COLOURS[name] || "quiet");

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  const seconds = (s) => (s < 10 ? s.toFixed(2) : s < 120 ? s.toFixed(1) : Math.round(s).toString()) + " s";
  const clock = (s) => {
    if (s < 120) return seconds(s);
    const two = (n) => String(Math.floor(n)).padStart(2, "0");
    const hours = Math.floor(s / 3600);
    return (hours ? hours + ":" + two((s % 3600) / 60) : Math.floor(s / 60)) + ":" + two(s % 60);
  };
  const bytes = (n) => (n >= 2 ** 30 ? (n / 2 ** 30).toFixed(2) + " GiB" : (n / 2 ** 20).toFixed(n < 1e7 ? 2 : 1) + " MiB");
  const bits = (n) => (n >= 1e6 ? (n / 1e6).toFixed(2) + " Mbit/s" : (n / 1e3).toFixed(0) + " kbit/s");
  const numbers = (s) => s.first + (s.last === s.first ? "" : " to " + s.last);
  const plural = (n, unit) => n + " " + (n === 1 ? unit.replace(/s$/, "") : unit);

  // Steps of 1, 2 or 5 that give about `wanted` marks up to `top`.
  const step = (top, wanted) => {
    const rough = Math.max(top, 1e-9) / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  };

  // A canvas of so many CSS pixels in height that is drawn anew when its width or the theme changes.
  const canvas = (parent, height, draw) => {
    const made = element("canvas");
    made.setAttribute("aria-hidden", "true");
    made.style.height = height + "px";
    parent.append(made);
    const part = { made };
    part.redraw = () => {
      const width = made.clientWidth;
      if (!width) return;
      const scale = window.devicePixelRatio || 1;
      made.width = Math.round(width * scale);
      made.height = Math.round(height * scale);
      const context = made.getContext("2d");
      context.scale(scale, scale);
      context.font = "11px system-ui, sans-serif";
      draw(context, width, height);
      if (part.cursor !== undefined) {
        context.fillStyle = css("text");
        context.fillRect(part.x(part.cursor, width) - 0.5, 0, 1, height);
      }
    };
    charts.push(part.redraw);
    return part;
  };

  // Charts that share an axis share a cursor: the mouse or the arrow keys move it.
  const cursor = (chart, parts, from, to, say) => {
    let at;
    const last = to - from;
    const show = (time) => {
      at = time === undefined ? undefined : Math.min(to, Math.max(from, time));
      parts.forEach((part) => {
        part.cursor = at;
        part.redraw();
      });
      say(at);
    };
    parts.forEach((part) => {
      part.x = part.x || ((time, width) => ((time - from) / last) * width);
      part.made.addEventListener("pointermove", (event) => {
        const box = part.made.getBoundingClientRect();
        const left = part.left || 0;
        show(from + ((event.clientX - box.left - left) / (box.width - left)) * last);
      });
    });
    chart.addEventListener("pointerleave", () => document.activeElement !== chart && show(undefined));
    chart.addEventListener("blur", () => show(undefined));
    chart.addEventListener("keydown", (event) => {
      const small = last / 100;
      const now = at === undefined ? from : at;
      const moves = { ArrowRight: now + small, ArrowLeft: now - small, PageDown: now + 10 * small,
        PageUp: now - 10 * small, Home: from, End: to };
      if (event.key === "Escape") show(undefined);
      else if (event.key in moves) show(moves[event.key]);
      else return;
      event.preventDefault();
    });
  };

  // Means of an array's stretches under each pixel column.
  const column = (values, length, x, width, total) => {
    const first = (x / width) * total;
    const end = Math.max(first + 1e-6, ((x + 1) / width) * total);
    let sum = 0;
    for (let i = Math.floor(first); i < end && i < length; i++) {
      sum += (values[i] || 0) * (Math.min(i + 1, end) - Math.max(i, first));
    }
    return sum / (end - first);
  };

  const timeAxis = (context, width, height, from, to, left) => {
    const marks = step(to - from, Math.max(2, width / 110));
    context.fillStyle = css("quiet");
    context.textBaseline = "bottom";
    for (let time = Math.ceil(from / marks) * marks; time <= to; time += marks) {
      const x = left + ((time - from) / (to - from)) * (width - left);
      const text = clock(time);
      const half = context.measureText(text).width / 2;
      context.fillRect(x, 0, 1, 4);
      context.fillText(text, Math.min(Math.max(x - half, left), width - 2 * half), height);
    }
  };

  const timeline = () => {
    const chart = document.getElementById("timeline");
    const { stretch, end, tracks, cores } = data.timeline;
    const stretches = end / stretch;
    const rows = chart.appendChild(element("div", "rows"));
    const parts = [];
    const told = [];
    const row = (label, height, draw, mean, tell, whole) => {
      if (whole) rows.append(element("div", "space"));
      rows.append(element("div", "label" + (whole ? " whole" : ""), label));
      parts.push(canvas(rows.appendChild(element("div")), height, draw));
      const value = rows.appendChild(element("div", "value", mean));
      told.push((time) => {
        value.textContent = time === undefined ? mean : tell(time);
        value.classList.toggle("now", time !== undefined);
      });
    };
    const group = (name) => rows.append(element("div", "group", name));
    const place = (time) => Math.min(Math.floor(time / stretch), Math.ceil(stretches) - 1);

    group(data.run.device + ": " + plural(data.run.cores, "cores"));
    if (cores.length) {
      const top = data.run.cores * 1000;
      row("cores busy", 34, (context, width, height) => {
        context.fillStyle = css("idle");
        context.fillRect(0, 0, width, height);
        context.fillStyle = css("accent");
        for (let x = 0; x < width; x++) {
          const full = Math.min(1, column(cores, cores.length, x, width, stretches) / top) * height;
          context.fillRect(x, height - full, 1, full);
        }
      }, "mean " + (cores.reduce((a, b) => a + b, 0) / 1000 / stretches).toFixed(1) + " of " + data.run.cores,
      (time) => ((cores[place(time)] || 0) / 1000).toFixed(1) + " of " + data.run.cores);
    }
    const segmentsRow = (worker) => {
      const mine = data.timeline.work.filter((s) => s.worker === worker);
      if (!mine.length) return;
      row("segments", 15, (context, width, height) => {
        context.textBaseline = "middle";
        mine.forEach((s) => {
          const x = (s.begun / end) * width;
          const wide = Math.max(1, ((s.ended - s.begun) / end) * width - 1);
          context.fillStyle = css("line");
          context.fillRect(x, 1, wide, height - 2);
          const text = numbers(s);
          if (context.measureText(text).width + 6 < wide) {
            context.fillStyle = css("text");
            context.fillText(text, x + 3, height / 2 + 0.5);
          }
        });
      }, plural((data.workers[worker] || {}).segments || 0, "segments"), (time) => {
        const at = mine.find((s) => s.begun <= time && time <= s.ended);
        return at ? "segment " + numbers(at) : "no segment";
      });
    };
    let before;
    tracks.forEach((track) => {
      if (!track.spans.length) return;
      if (track.group !== before) {
        before = track.group;
        if (track.stage) group(track.group);
        const worker = /^worker (\d+)$/.exec(track.group);
        if (worker) segmentsRow(Number(worker[1]));
      }
      // Work lies at the bottom, waiting on top of it.
      const spans = [...track.spans].sort((a, b) => (a.name === "wait") - (b.name === "wait"));
      const work = spans.filter((s) => s.name !== "wait").reduce((sum, s) => sum + s.seconds, 0);
      row(track.stage || track.group, 20, (context, width, height) => {
        context.fillStyle = css("idle");
        context.fillRect(0, 0, width, height);
        const fills = spans.map((s) => colour(s.name));
        for (let x = 0; x < width; x++) {
          let from = height;
          spans.forEach((s, i) => {
            const high = Math.min(from, (column(s.share, s.share.length, x, width, stretches) / 1000) * height);
            context.fillStyle = fills[i];
            context.fillRect(x, from - high, 1, high);
            from -= high;
          });
        }
      }, (100 * work / end).toFixed(0) + " % at work", (time) => {
        const now = spans.map((s) => [s.name, (s.share[place(time)] || 0) / 10]);
        const [name, share] = now.reduce((a, b) => (b[1] > a[1] ? b : a));
        return share < 0.5 ? "idle" : name + " " + share.toFixed(0) + " %";
      }, !track.stage);
    });
    rows.append(element("div", "label", ""));
    canvas(rows.appendChild(element("div")), 20, (context, width, height) => timeAxis(context, width, height, 0, end, 0));

    const names = [...new Set(tracks.flatMap((t) => t.spans.map((s) => s.name)))];
    const legend = element("ul", "legend");
    names.forEach((name) => {
      const item = legend.appendChild(element("li", "", name));
      item.style.setProperty("--c", "var(--" + (COLOURS[name] || "quiet") + ")");
    });
    legend.appendChild(element("li", "", "nothing")).style.setProperty("--c", "var(--idle)");
    chart.before(legend);
    const readout = document.getElementById("timeline-readout");
    const hint = readout.textContent;
    const encoders = tracks.filter((t) => t.stage.startsWith("encode"));
    const sum = (time, waiting) => encoders.flatMap((t) => t.spans)
      .filter((s) => (s.name === "wait") === waiting)
      .reduce((all, s) => all + (s.share[place(time)] || 0) / 1000, 0).toFixed(1);
    cursor(chart, parts, 0, end, (time) => {
      told.forEach((tell) => tell(time));
      readout.textContent = time === undefined ? hint : "at " + seconds(time) + ": " + sum(time, false) + " of " +
        plural(encoders.length, "encoders") + " at work, " + sum(time, true) + " waiting for frames";
    });
  };

  const area = (context, width, height, values, top, total, fill) => {
    context.fillStyle = fill;
    for (let x = 0; x < width; x++) {
      let most = 0;
      const end = ((x + 1) / width) * total;
      for (let i = Math.floor((x / width) * total); i < end && i < values.length; i++) most = Math.max(most, values[i]);
      const high = most ? Math.max(1, (most / top) * height) : 0;
      context.fillRect(x, height - high, 1, high);
    }
  };

  const queues = () => {
    const { stretch, end } = data.timeline;
    const byName = new Map();
    data.queues.forEach((q) => byName.set(q.name, [...(byName.get(q.name) || []), q]));
    const amount = (q, n) => {
      if (q.unit === "bytes") return bytes(n);
      return /^[a-z]/.test(q.unit) ? plural(n, q.unit) : n + " " + q.unit;
    };
    byName.forEach((list, name) => {
      list.sort((a, b) => (a.unit === "bytes") - (b.unit === "bytes"));
      const main = list[0];
      const kind = /^cuda:/.test(name) ? "gpus" : /^worker /.test(name) ? "worker-queues" : "queues";
      const place = document.getElementById(kind);
      const card = place.appendChild(element("div", "card"));
      card.append(element("b", "", name));
      const mean = main.unit === "bytes" ? bytes(main.mean) : main.mean.toFixed(1);
      card.append(element("span", "", "at most " + list.map((q) => amount(q, q.most)).join(", ") + "; mean " + mean));
      canvas(card, 44, (context, width, height) => {
        context.fillStyle = css("grid");
        context.fillRect(0, height - 1, width, 1);
        area(context, width, height - 1, main.depths, main.most, end / stretch, css("accent"));
      });
    });
  };

  // A chart along the duration of an output, with a scale at its left.
  const LEFT = 74;
  const along = (parent, height, rate, low, top, label, draw) => {
    const to = rate.start + rate.duration;
    const x = (time, width) => LEFT + ((time - rate.start) / (to - rate.start)) * (width - LEFT);
    const part = canvas(parent, height, (context, width, high) => {
      const y = (value) => high - 2 - ((value - low) / (top - low)) * (high - 12);
      const marks = step(top - low, high / 26);
      context.textBaseline = "middle";
      for (let value = Math.ceil(low / marks) * marks; value <= top + 1e-9; value += marks) {
        context.fillStyle = css("grid");
        context.fillRect(LEFT, y(value), width - LEFT, 1);
        context.fillStyle = css("quiet");
        const text = label(value);
        context.fillText(text, LEFT - 6 - context.measureText(text).width, Math.min(high - 6, Math.max(6, y(value))));
      }
      draw(context, width, y, (time) => x(time, width));
    });
    part.x = x;
    part.left = LEFT;
    return part;
  };

  const output = (number) => {
    const { rate } = data.outputs[number];
    if (!rate.bits.length) return;
    const chart = document.getElementById("output-" + number);
    const to = rate.start + rate.duration;
    const known = data.segments.filter((s) => s.start !== null);
    const ends = known.map((s, i) => (i + 1 < known.length ? known[i + 1].start : to));
    const seams = (context, width, y0, y1, x) => {
      if ((width - LEFT) / known.length < 4) return;
      context.fillStyle = css("mark");
      known.slice(1).forEach((s) => {
        for (let y = y0; y < y1; y += 6) context.fillRect(Math.round(x(s.start)), y, 1, 3);
      });
    };
    const top = Math.max(...rate.bits, 1) * 1.05;
    const megabits = top >= 2e6;
    const parts = [along(chart, 170, rate, 0, top,
      (v) => (megabits ? v / 1e6 + " Mbit/s" : v / 1e3 + " kbit/s"), (context, width, y, x) => {
        context.fillStyle = css("encode");
        rate.bits.forEach((b, i) => {
          const from = x(rate.start + i * rate.stretch);
          const until = x(i + 1 < rate.bits.length ? rate.start + (i + 1) * rate.stretch : to);
          context.fillRect(from, y(b), until - from - (until - from > 4 ? 0.5 : 0), y(0) - y(b));
        });
        seams(context, width, 10, y(0), x);
        context.fillStyle = css("text");
        context.fillRect(LEFT, y(rate.mean), width - LEFT, 1);
        const text = "mean " + bits(rate.mean);
        const wide = context.measureText(text).width;
        const base = y(rate.mean) - 9 < 8 ? y(rate.mean) + 9 : y(rate.mean) - 9;
        context.fillStyle = css("page");
        context.globalAlpha = 0.85;
        context.fillRect(width - wide - 8, base - 7, wide + 8, 14);
        context.globalAlpha = 1;
        context.fillStyle = css("text");
        context.fillText(text, width - wide - 4, base);
      })];
    const found = known.map((s) => s.outputs[number] && s.outputs[number].quality);
    if (found.some(Boolean)) {
      const steps = (title, value, label, floor, ceiling) => {
        const values = found.map((q) => (q ? value(q) : null));
        const numbers = values.filter((v) => v !== null);
        if (!numbers.length) return;
        chart.append(element("h3", "", title));
        const low = Math.min(...numbers), high = Math.max(...numbers);
        const margin = Math.max((high - low) * 0.15, floor);
        parts.push(along(chart, 86, rate, low - margin, Math.min(high + margin, ceiling), label, (context, width, y, x) => {
          seams(context, width, 4, 84, x);
          context.fillStyle = css("decode");
          values.forEach((v, i) => {
            if (v === null) return;
            const from = x(known[i].start);
            context.fillRect(from, y(v) - 1.5, Math.max(2, x(ends[i]) - from), 3);
          });
        }));
      };
      steps("PSNR of each segment", (q) => q.psnr, (v) => +v.toFixed(2) + " dB", 0.25, Infinity);
      steps("SSIM of each segment", (q) => q.ssim, (v) => String(+v.toFixed(4)), 0.0005, 1);
    }
    canvas(chart, 20, (context, width, height) => timeAxis(context, width, height, rate.start, to, LEFT));
    const readout = document.getElementById("output-" + number + "-readout");
    const hint = readout.textContent;
    cursor(chart, parts, rate.start, to, (time) => {
      if (time === undefined) { readout.textContent = hint; return; }
      const i = Math.min(rate.bits.length - 1, Math.floor((time - rate.start) / rate.stretch));
      const said = ["at " + seconds(time), bits(rate.bits[i])];
      const s = known.findIndex((_, k) => time < ends[k]);
      if (s >= 0) {
        said.push("segment " + numbers(known[s]));
        const q = found[s];
        if (q) said.push(q.psnr === null ? "identical" : "PSNR " + q.psnr.toFixed(2) + " dB", "SSIM " + q.ssim.toFixed(5));
      }
      readout.textContent = said.join(", ");
    });
  };

  timeline();
  queues();
  data.outputs.forEach((_, number) => output(number));
  const redraw = () => charts.forEach((draw) => draw());
  redraw();
  // Charts in a closed part of the page have no width yet.
  document.querySelectorAll("details").forEach((part) => part.addEventListener("toggle", redraw));
  window.addEventListener("resize", redraw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
})();
