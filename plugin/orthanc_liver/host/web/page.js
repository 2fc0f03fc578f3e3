'use strict';
// What all pages need.
const UNFINISHED = ['Running', 'Retry', 'Pending'];
// Wherever a proxy puts Orthanc, the pages are at .../liver/app,
// .../liver/quality/page and .../liver/series/.../review. Origin and path leave out a name and
// password that the address may hold, with which fetch would refuse it.
const LIVER = location.origin + location.pathname.replace(/(app|quality\/page|series\/[^/]+\/review)\/*$/, '');
const ORTHANC = LIVER.replace(/liver\/$/, '');
const get = (id) => document.getElementById(id);
// Of the languages that the browser prefers, the first that there is a table for. Tables are keyed
// by the English text; what the server says stays English.
const LANGUAGE = navigator.languages.map((one) => one.slice(0, 2)).find((one) => one === 'en' || one in TEXTS) || 'en';
const LOCALE = navigator.languages.find((one) => one.startsWith(LANGUAGE)) || LANGUAGE;

function t(text, values = {}) {
  const known = TEXTS[LANGUAGE]?.[text] ?? text;
  return known.replace(/\{(\w+)\}/g, (place, name) => isolated(values[name] ?? place));
}

// A text of others within one of ours: what is written from right to left would turn ours round.
const isolated = (text) => (/[\u0590-\u08ff\ufb1d-\ufefc]/.test(text) ? `\u2068${text}\u2069` : text);

function translate(root) {
  const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) {
      const text = node.data.trim().replace(/\s+/g, ' ');
      if (text && t(text) !== text) { node.data = node.data.replace(node.data.trim(), t(text)); }
    } else {
      for (const name of ['aria-label', 'alt']) {
        if (node.hasAttribute(name)) { node.setAttribute(name, t(node.getAttribute(name))); }
      }
      if (node.content) { translate(node.content); }
    }
  }
}

const STAGES = {
  read: 'reading the images',
  resample: 'preparing the images',
  localise: 'finding the liver',
  infer: 'outlining the liver',
  'look again': 'looking at it again',
  'back to the CT grid': 'drawing the outline',
  clean: 'checking the outline',
  doubt: 'asking how sure the networks are',
  contour: 'drawing contours',
  write: 'writing the result',
  preview: 'making the picture',
  store: 'storing the result',
};
const OUTCOMES = {
  segmented: 'Segmented',
  doubtful: 'Doubtful',
  'no liver found': 'No liver found',
  refused: 'Refused',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

document.documentElement.lang = LANGUAGE;
document.title = t(document.title);
translate(document.body);

async function call(path, method = 'GET', body = undefined) {
  const headers = { Accept: 'application/json' };
  if (body !== undefined && path.startsWith(LIVER)) { headers['Content-Type'] = 'application/json'; }
  const answer = await fetch(path, { method, body, headers });
  const text = await answer.text();
  if (!answer.ok) { throw refusal(answer.status, text); }
  return parsed(text);
}

function parsed(text) {
  try { return JSON.parse(text); } catch { return null; }   // some answers of Orthanc's have no body
}

function refusal(status, text) {
  const message = status === 401 ? t('You are not signed in any more: reload this page.') : parsed(text)?.Message;
  return new Error(message || t('Orthanc answered {status}.', { status }));
}

function outcomeOf(content) {
  const word = content.Ending;
  if (word === 'cancelled') {
    const by = /^cancelled by (.+)$/.exec(content.Reason)?.[1];
    return by ? t('Cancelled by {name}', { name: by }) : t('Cancelled');
  }
  const volume = content.Result ? `: ${t('liver {ml} mL', { ml: Math.round(content.Report.liver_ml) })}` : '';
  return `${t(OUTCOMES[word] || word)}${volume}`;
}

function describe(delivery) {
  const [[kind, place]] = Object.entries(delivery.Destination);
  const reason = delivery.Reason ? `: ${delivery.Reason}` : '';
  const tried = delivery.Attempts > 1 ? ` (${t('attempt {number}', { number: delivery.Attempts })})` : '';
  const state = { committed: 'arrived, storage committed', refused: 'refused' }[delivery.Arrival] || { Success: 'sent', Failure: 'given up', Retry: 'failed, is sent again', Running: 'is being sent', Pending: 'waits' }[delivery.State];
  const what = delivery.Kind ? `${delivery.Kind} → ` : '';
  return `${what}${kind} ${place}: ${t(state)}${tried}${reason}`;
}

// Only touch what differs, so that a screen reader is told of changes alone.
function say(element, text) {
  if (element.textContent !== text) { element.textContent = text; }
  element.hidden = !text;
}

// Texts of DICOM beside each other, whatever direction each of them is written in.
function sayParts(element, parts) {
  const texts = parts.filter(Boolean);
  if (element.dataset.parts === JSON.stringify(texts)) { return; }
  element.dataset.parts = JSON.stringify(texts);
  element.replaceChildren(...texts.flatMap((text, n) =>
    [n ? ' · ' : '', Object.assign(document.createElement('bdi'), { textContent: text })]));
}

// Family, Given of Family^Given; a name may be written in up to three scripts, the first of which may be empty.
function person(name) {
  const written = (name || '').split('=').find((one) => one.replaceAll('^', '').trim()) || '';
  const [family, ...others] = written.split('^').map((one) => one.trim()).filter(Boolean);
  return [family, others.join(' ')].filter(Boolean).join(', ');
}

const day = (date) => /^(\d{4})(\d\d)(\d\d)/.exec(date || '')?.slice(1).join('-');

function ordinal(number) {
  if (LANGUAGE !== 'en') { return `${number}.`; }
  return number + { one: 'st', two: 'nd', few: 'rd', other: 'th' }[new Intl.PluralRules('en', { type: 'ordinal' }).select(number)];
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
  const time = new Date(Date.UTC(year, month - 1, ...rest));
  const isToday = time.toDateString() === new Date().toDateString();
  const clock = { hour: '2-digit', minute: '2-digit' };
  return isToday ? time.toLocaleTimeString(LOCALE, clock) : `${time.toLocaleDateString(LOCALE)} ${time.toLocaleTimeString(LOCALE, clock)}`;
}

function decided(review) {
  const verdict = { accepted: 'Accepted by {name}', rejected: 'Rejected by {name}' }[review.Verdict];
  const by = isolated(review.By);
  const name = review.IsTyped ? `${by} (${t('a name as typed')})` : by;
  return `${t(verdict, { name })}, ${when(review.Time)}${review.Reason ? `: ${isolated(review.Reason)}` : ''}`;
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
