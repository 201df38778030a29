// One chart: a bar of the 95% and 80% interval for each day, the expected count, and the staffed beds.
// The table beside it holds the same numbers; the chart's label says them in words.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150, LEFT = 34, RIGHT = 8, TOP = 14, BOTTOM = 22;

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// A step of 1, 2 or 5 times a power of ten that gives about four lines.
function step(range) {
  const rough = Math.max(range / 4, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
}

export function occupancyChart(days, staffed, label, dayName, width = 360) {
  const counts = days.flatMap((day) => [day.occupancy_95.low, day.occupancy_95.high]);
  if (staffed !== null) counts.push(staffed);
  const size = step(Math.max(...counts) - Math.min(...counts));
  const low = Math.max(0, Math.floor(Math.min(...counts) / size) * size);
  const high = Math.max(low + size, Math.ceil(Math.max(...counts) / size) * size);
  const y = (count) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (count - low) / (high - low));
  const slot = (width - LEFT - RIGHT) / days.length;

  const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
  for (let line = low; line <= high; line += size) {
    svg.append(element("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(line), y2: y(line) }));
    svg.append(element("text", { x: LEFT - 5, y: y(line) + 4, "text-anchor": "end" }, line));
  }
  days.forEach((day, index) => {
    const centre = LEFT + slot * (index + 0.5), half = Math.min(slot * 0.32, 22);
    // A count is a whole number: its bar reaches half a patient to both sides.
    for (const [name, share] of [["possible", 1], ["likely", 0.75]]) {
      const interval = name === "likely" ? day.occupancy_80 : day.occupancy_95;
      const top = y(Math.min(interval.high + 0.5, high)), bottom = y(Math.max(interval.low - 0.5, low));
      svg.append(element("rect", { class: name, x: centre - half * share, width: 2 * half * share, y: top, height: bottom - top }));
    }
    const at = y(day.expected_occupancy);
    svg.append(element("line", { class: "expected", x1: centre - half, x2: centre + half, y1: at, y2: at }));
    svg.append(element("text", { x: centre, y: HEIGHT - 7, "text-anchor": "middle" }, dayName(day)));
    if (day.probability_over_staffed !== null && day.probability_over_staffed >= 0.5) {
      svg.append(element("text", { class: "over", x: centre, y: TOP - 3, "text-anchor": "middle" }, "▲"));
    }
  });
  if (staffed !== null) {
    svg.append(element("line", { class: "beds", x1: LEFT, x2: width - RIGHT, y1: y(staffed), y2: y(staffed) }));
  }
  return svg;
}
