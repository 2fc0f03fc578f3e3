'use strict';
// The form for the Y-90 activity. The plugin says what it asks for, and computes.
let asks = null;   // methods, inputs and choices
let ofCt = {};     // what an image of the CT says, by keyword

async function offerActivity() {
  if (asks || !get('activity').open) { return; }
  asks = await call(`${LIVER}activity`);
  ofCt = await call(`${ORTHANC}instances/${shown.Stack.Slices[0].Instance}/simplified-tags`).catch(() => ({}));
  get('method').replaceChildren(...Object.entries(asks.Methods).map(([name, { Title }]) => new Option(t(Title), name)));
  showInputs();
}

// What was typed stays where the other method asks for it too.
function showInputs() {
  const before = typed();
  const { Needs, Takes, Chooses } = asks.Methods[get('method').value];
  const numbers = Takes.map((name) => numberField(name, Needs.includes(name)));
  get('inputs').replaceChildren(...numbers, ...Chooses.map(choiceField));
  for (const [name, value] of Object.entries(before)) {
    const field = get('activity-form').elements[name];
    if (field) { field.value = value; }
  }
}

const typed = () => Object.fromEntries([...get('inputs').querySelectorAll('[name]')]
  .map((field) => [field.name, field.value]).filter(([, value]) => value !== ''));

function numberField(name, isNeeded) {
  const { Meaning, Unit, Low, High, Roi, DicomTag } = asks.Inputs[name];
  const field = document.createElement('div');
  const input = Object.assign(document.createElement('input'), { name, type: 'number', step: 'any', min: Low, max: High });
  input.placeholder = name === 'LiverMl' ? t('of the outline') : Number(ofCt[DicomTag]) ? t('{value}, as the CT says', { value: Number(ofCt[DicomTag]) }) : '';
  field.append(labelled(`${t(Meaning)}${Unit ? `, ${Unit}` : ''}${isNeeded ? '' : ` (${t('if any')})`}`, input));
  if (Roi && outlines.length) {
    const options = outlines.map((one) => new Option(described(one), keyOf(one)));
    const select = Object.assign(document.createElement('select'), { name: Roi });
    select.append(new Option(t('or from an outline'), ''), ...options);
    select.setAttribute('aria-label', `${t(Meaning)}, ${t('from an outline')}`);
    field.append(select);
  }
  return field;
}

const keyOf = ({ Rtstruct, Roi }) => `${Rtstruct} ${Roi}`;

function choiceField(name) {
  const { Meaning, Options } = asks.Choices[name];
  const select = Object.assign(document.createElement('select'), { name });
  select.append(new Option(t('not said'), ''), ...Options.map((one) => new Option(t(one), one)));
  return labelled(t(Meaning), select);
}

function labelled(text, field) {
  const label = document.createElement('label');
  label.append(text[0].toUpperCase() + text.slice(1), field);
  return label;
}

function asked() {
  const body = { Method: get('method').value };
  if (get('keep').checked) { body.Store = ['SR']; }
  if (get('lungs').checked) { body.LungsFromCt = true; }
  if (get('table').checked) { body.Table = true; }
  for (const [name, value] of Object.entries(typed())) {
    if (name in asks.Inputs) {
      body[name] = Number(value);
    } else if (name in asks.Choices) {
      body[name] = value;
    } else {
      const outline = outlines.find((one) => keyOf(one) === value);
      if (!outline) { throw new Error(t('A chosen outline is no longer there: reload this page.')); }
      if (body.Rtstruct && body.Rtstruct !== outline.Rtstruct) {
        throw new Error(t('Choose outlines of one structure set, or type the volumes of the others.'));
      }
      Object.assign(body, { [name]: outline.Name, Rtstruct: outline.Rtstruct });
    }
  }
  return body;
}

async function compute(event) {
  event.preventDefault();
  get('answer').hidden = true;
  get('refusal').textContent = '';
  const button = get('activity-form').querySelector('button');
  button.disabled = true;
  say(get('computing'), t('Computing'));
  try {
    const answer = await fetch(`${LIVER}series/${SERIES}/activity`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', Accept: 'text/plain' },
      body: JSON.stringify(asked()),
    });
    const text = await answer.text();
    if (!answer.ok) { throw refusal(answer.status, text); }
    get('sheet').textContent = text;
    get('answer').hidden = false;
    get('sheet').focus();
  } catch (error) {
    refuse(error);
  } finally {
    button.disabled = false;
    say(get('computing'), '');
  }
}

// Read out because it is focused.
function refuse(error) {
  get('refusal').textContent = error.message;
  get('refusal').focus();
}

function listenToActivity() {
  get('activity').addEventListener('toggle', () => offerActivity().catch(refuse));
  get('method').addEventListener('change', showInputs);
  get('activity-form').addEventListener('submit', compute);
  get('print').addEventListener('click', () => print());
}
