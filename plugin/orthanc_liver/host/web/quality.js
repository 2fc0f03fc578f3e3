'use strict';
// Each model's control chart.
const SVG = 'http://www.w3.org/2000/svg';
const MARGIN = { left: 44, right: 8, top: 10, bottom: 20 };
const LAST = 20;
const IDENTIFIER = /^[0-9a-f]{8}(-[0-9a-f]{8}){4}$/;
const RULES = { beyond: 'beyond', 'in a row': 'in a row', 'slow mean': 'slow mean' };
let charts = [];

const rulesOf = (rules) => rules.map((rule) => t(RULES[rule] || rule)).join(', ');

function element(name, attributes, text = '') {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) { made.setAttribute(key, value); }
  made.textContent = text;
  return made;
}

function limitsOf(chart) {
  if (chart.MeanDsc === null) {
    return t('{count} of the {wanted} first cases that set the limits', { count: chart.Cases, wanted: chart.WantsCases });
  }
  return t('{count} cases; of the first {first} the mean is {mean}, the limit for one case {beyond}, that of the slow mean {slow}', {
    count: chart.Cases, first: chart.FirstCases, mean: chart.MeanDsc.toFixed(3), beyond: chart.BeyondDsc.toFixed(3), slow: chart.SlowLimitDsc.toFixed(3),
  });
}

function stateOf(chart) {
  if (chart.Rules.length) { return t('The newest case breaks a rule: {rules}', { rules: rulesOf(chart.Rules) }); }
  return chart.MeanDsc === null ? '' : t('The newest case breaks no rule.');
}

function draw(svg, chart) {
  const width = svg.clientWidth || 320;
  const height = svg.clientHeight || 272;
  const every = chart.Points.map((one) => one.Dsc).concat(chart.BeyondDsc ?? [], chart.MeanDsc ?? []);
  const lowest = Math.max(0, Math.floor((Math.min(...every) - 0.005) * 50) / 50);
  const x = (n) => MARGIN.left + ((n + 0.5) * (width - MARGIN.left - MARGIN.right)) / chart.Points.length;
  const y = (dsc) => MARGIN.top + ((1 - dsc) * (height - MARGIN.top - MARGIN.bottom)) / (1 - lowest);
  const across = (dsc, name) => element('line', { class: name, x1: MARGIN.left, x2: width - MARGIN.right, y1: y(dsc), y2: y(dsc) });
  const parts = [];
  for (let step = 0; step <= 4; step += 1) {
    const dsc = lowest + ((1 - lowest) * step) / 4;
    parts.push(across(dsc, 'axis'), element('text', { x: MARGIN.left - 6, y: y(dsc) + 4, 'text-anchor': 'end' }, dsc.toFixed(3)));
  }
  parts.push(element('text', { x: MARGIN.left, y: height - 4 }, day(chart.Points[0].Time)));
  parts.push(element('text', { x: width - MARGIN.right, y: height - 4, 'text-anchor': 'end' }, day(chart.Points.at(-1).Time)));
  if (chart.MeanDsc !== null) { parts.push(across(chart.MeanDsc, 'mean'), across(chart.BeyondDsc, 'beyond')); }
  const slow = chart.Points.map((one, n) => [one, n]).filter(([one]) => one.SlowDsc !== null);
  if (slow.length) { parts.push(element('polyline', { class: 'slow', points: slow.map(([one, n]) => `${x(n)},${y(one.SlowDsc)}`).join(' ') })); }
  chart.Points.forEach((one, n) => parts.push(mark(one, x(n), y(one.Dsc))));
  svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
  svg.setAttribute('aria-label', `${t('DSC case by case')}: ${limitsOf(chart)}. ${stateOf(chart)}`);
  svg.replaceChildren(...parts);
}

// Told by shape as well as by colour.
function mark(one, x, y) {
  const name = one.Rules.length ? 'broken' : one.SlowDsc === null ? 'first' : 'case';
  const made = one.Rules.length
    ? element('path', { class: name, d: `M${x - 6} ${y + 5}L${x + 6} ${y + 5}L${x} ${y - 6}Z` })
    : element('circle', { class: name, cx: x, cy: y, r: 2.5 });
  made.append(element('title', {}, described(one)));
  return made;
}

function described(one) {
  const apart = one.MdaMm === null ? '' : t('surfaces {mm} mm apart', { mm: one.MdaMm.toFixed(1) });
  const most = t('most on slice {slice} ({ml} mL)', { slice: one.WorstSlice, ml: one.WorstMl.toFixed(1) });
  return [`DSC ${one.Dsc.toFixed(3)}`, apart, t('volume {ratio} of theirs', { ratio: one.Rv.toFixed(3) }), most].filter(Boolean).join(', ');
}

function lineOf(one) {
  const line = document.createElement('li');
  const link = Object.assign(document.createElement('a'), { textContent: when(one.Time) });
  if (IDENTIFIER.test(one.Series)) { link.href = `${LIVER}series/${one.Series}/review`; }
  const figures = Object.assign(document.createElement('span'), { textContent: described(one) });
  const rules = Object.assign(document.createElement('span'), { className: 'broken', textContent: rulesOf(one.Rules) });
  line.append(link, figures, rules);
  return line;
}

function besideOf(models) {
  return models ? t('Against the first model: {count} outlines, DSC {mean} in the mean and {lowest} at the lowest, volume {ratio} of its', {
    count: models.Outlines, mean: models.MeanDsc.toFixed(3), lowest: models.LowestDsc.toFixed(3), ratio: models.MeanRv.toFixed(3),
  }) : '';
}

function shownChart(chart) {
  const made = get('one').content.cloneNode(true).firstElementChild;
  const name = `${chart.Model} (${chart.Sha256.slice(0, 12)})`;
  made.querySelector('h2').textContent = chart.IsShadow ? `${name}, ${t('second model')}` : name;
  say(made.querySelector('.beside'), besideOf(chart.AgainstFirst));
  made.querySelector('figure').hidden = !chart.Points.length;
  say(made.querySelector('.rules'), stateOf(chart));
  made.querySelector('.rules').classList.toggle('broken', chart.Rules.length > 0);
  made.querySelector('.limits').textContent = limitsOf(chart);
  made.querySelector('.cases').replaceChildren(...chart.Points.slice(-LAST).reverse().map(lineOf));
  return made;
}

function drawAll() {
  document.querySelectorAll('#charts svg').forEach((svg, n) => { if (charts[n].Points.length) { draw(svg, charts[n]); } });
}

async function begin() {
  get('queue').href = `${LIVER}app`;
  get('table').href = `${LIVER}quality`;
  charts = await call(`${LIVER}quality/chart`);
  get('empty').hidden = charts.length > 0;
  get('charts').replaceChildren(...charts.map(shownChart));
  drawAll();
  window.addEventListener('resize', drawAll);
}

begin().catch((error) => {
  get('message').className = 'wrong';
  get('message').textContent = error.message;
});
