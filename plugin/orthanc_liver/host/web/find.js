'use strict';
// Searching is done by Orthanc itself, with the rights of whoever looks.
const RESOURCE = /^[0-9a-f]{8}(-[0-9a-f]{8}){4}$/;
const MOST_STUDIES = 100;
const MOST_SHOWN = 20;
let sought = null;   // identifiers of studies; null: all

async function find() {
  const text = get('wanted').value.trim();
  const found = text ? await findBy(text) : [];
  const studies = [...new Set(found.map((one) => one.study))];
  if (studies.length > MOST_STUDIES) { throw new Error(t('More than {most} studies fit: write more of the name.', { most: MOST_STUDIES })); }
  if (text && !studies.length) { throw new Error(t('Orthanc has no such patient, study or series.')); }
  sought = text ? studies : null;
  get('all').hidden = !text && !get('outcome').value;
  await offer(found);
}

// What is to be segmented of each find, a study or one series of it.
async function findBy(text) {
  const exact = RESOURCE.test(text) ? await resource(text) : await call(`${ORTHANC}tools/lookup`, 'POST', text);
  const paths = exact.filter((one) => ['Series', 'Study'].includes(one.Type)).map((one) => one.Path.slice(1));
  const named = await Promise.all(paths.map(async (path) => {
    const one = await call(`${ORTHANC}${path}`);
    return { path, study: one.ParentStudy || one.ID };
  }));
  const studies = RESOURCE.test(text) ? [] : await studiesLike(text);
  const known = new Set(named.map((one) => one.study));
  return [...named, ...studies.filter((id) => !known.has(id)).map((id) => ({ path: `studies/${id}`, study: id }))];
}

// A name as people write it is Family^Given in DICOM: its words are looked for one by one.
async function studiesLike(text) {
  const words = text.replaceAll('\\', ' ').split(/[\s,^]+/).filter(Boolean);
  const asked = (tag, value) => call(`${ORTHANC}tools/find`, 'POST', JSON.stringify({
    Level: 'Study', Query: { [tag]: `*${value}*` }, CaseSensitive: false, Expand: true, Limit: MOST_STUDIES + 1,
  }));
  const found = await Promise.all([asked('PatientName', words[0]), asked('PatientID', text), asked('AccessionNumber', text)]);
  const plain = (name) => (name || '').toLowerCase();
  const fits = (study) => words.every((word) => plain(study.PatientMainDicomTags.PatientName).includes(plain(word)));
  const [byName, ...byNumber] = found;
  return [...new Set([...byNumber.flat(), ...byName.filter((one) => words.length === 1 || fits(one))].map((one) => one.ID))];
}

async function resource(id) {
  for (const [Type, level] of [['Series', 'series'], ['Study', 'studies']]) {
    try {
      await call(`${ORTHANC}${level}/${id}`);
      return [{ Type, Path: `/${level}/${id}` }];
    } catch { /* then it is the other level, or nothing */ }
  }
  return [];
}

async function offer(found) {
  const lines = await Promise.all(found.slice(0, MOST_SHOWN).map(async ({ path, study }) => {
    const { MainDicomTags: tags, PatientMainDicomTags: patient } = await call(`${ORTHANC}studies/${study}`);
    const name = person(patient.PatientName) || patient.PatientID;
    const line = document.createElement('li');
    const what = document.createElement('span');
    sayParts(what, [name, patient.PatientID, day(tags.StudyDate), tags.StudyDescription]);
    const button = Object.assign(document.createElement('button'), { textContent: t('Segment') });
    button.setAttribute('aria-label', `${t('Segment')}: ${name}`);
    button.addEventListener('click', () => act(() => segment(path)));
    line.append(what, button);
    return line;
  }));
  get('others').replaceChildren(...lines);
  get('others').hidden = !lines.length;
}

async function segment(path, body = undefined) {
  const jobs = [await call(`${LIVER}${path}/segment`, 'POST', body)].flat();
  if (!jobs.length) { throw new Error(t('No series of this study passes the settings.')); }
  const done = jobs.filter((job) => job.IsDone).length;
  if (done < jobs.length) {
    tell(t('{count} series asked for.', { count: jobs.length - done }));
    return;
  }
  const again = Object.assign(document.createElement('button'), { className: 'second', textContent: t('Run it again') });
  again.addEventListener('click', () => act(() => segment(path, '{"Force": true}')));
  tell(t('Already segmented: the result would be the same.'));
  get('message').append(again);
}
