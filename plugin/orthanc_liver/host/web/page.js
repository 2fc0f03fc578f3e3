'use strict';
// What both pages need.
const UNFINISHED = ['Running', 'Retry', 'Pending'];
// Wherever a proxy puts Orthanc, the pages are at .../liver/app and
// .../liver/series/.../review. Origin and path leave out a name and
// password that the address may hold, with which fetch would refuse it.
const LIVER = location.origin + location.pathname.replace(/(app|series\/[^/]+\/review)\/*$/, '');
const ORTHANC = LIVER.replace(/liver\/$/, '');
const get = (id) => document.getElementById(id);

async function call(path, method = 'GET', body = undefined) {
  const headers = { Accept: 'application/json' };
  if (body !== undefined && path.startsWith(LIVER)) { headers['Content-Type'] = 'application/json'; }
  const answer = await fetch(path, { method, body, headers });
  const text = await answer.text();
  let json = null;
  try { json = JSON.parse(text); } catch { /* Orthanc's own refusals may have no body */ }
  if (!answer.ok) { throw new Error(json?.Message || `Orthanc answered ${answer.status}.`); }
  return json;
}

function describe(delivery) {
  const [[kind, place]] = Object.entries(delivery.Destination);
  const reason = delivery.Reason ? `: ${delivery.Reason}` : '';
  const tried = delivery.Attempts > 1 ? ` (attempt ${delivery.Attempts})` : '';
  const state = { Success: 'sent', Failure: 'given up', Retry: 'failed, is sent again', Running: 'is being sent', Pending: 'waits' }[delivery.State];
  return `${kind} ${place}: ${state}${tried}${reason}`;
}

// Only touch what differs, so that a screen reader is told of changes alone.
function say(element, text) {
  if (element.textContent !== text) { element.textContent = text; }
  element.hidden = !text;
}

function list(element, lines) {
  if (element.dataset.lines !== JSON.stringify(lines)) {
    element.dataset.lines = JSON.stringify(lines);
    element.replaceChildren(...lines.map((textContent) => Object.assign(document.createElement('li'), { textContent })));
  }
  element.hidden = lines.length === 0;
}

// The time that Orthanc and the plugin write, which is UTC: 20261128T062232.123456.
function when(text) {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)/.exec(text || '');
  if (!parts) { return ''; }
  const [, year, month, ...rest] = parts.map(Number);
  return new Date(Date.UTC(year, month - 1, ...rest)).toLocaleString();
}

function decided(review) {
  const verdict = { accepted: 'Accepted', rejected: 'Rejected' }[review.Verdict];
  const name = review.IsTyped ? `${review.By} (a name as typed)` : review.By;
  return `${verdict} by ${name}, ${when(review.Time)}${review.Reason ? `: ${review.Reason}` : ''}`;
}

// A link to the viewer that the setting Viewer names, for a study and a series of Orthanc's.
function link(element, template, study, series) {
  const uids = {
    orthanc: ORTHANC.replace(/\/$/, ''),
    StudyInstanceUID: encodeURIComponent(study.MainDicomTags.StudyInstanceUID),
    SeriesInstanceUID: encodeURIComponent(series.MainDicomTags.SeriesInstanceUID),
  };
  element.hidden = !template;
  if (template) { element.href = template.replace(/\{(\w+)\}/g, (place, name) => uids[name] ?? place); }
}
