'use strict';
// What came of the series, and what a person decides.
const POLL_MS = 3000;
let job = null;
let lookedFor = null;   // the result with which outlines were looked for
let isAlone = false;    // Orthanc did not answer last time

function tell(text, isWrong = false) {
  get('message').className = isWrong ? 'wrong' : '';
  if (get('message').textContent !== text) { get('message').textContent = text; }
}

const tellError = (error) => tell(error.message, true);

// The report's "grade", as people read it.
const SURE = {
  sure: 'no sign of doubt',
  look: 'signs of doubt: look at the slices marked below the picture',
  doubtful: 'doubtful: judge every slice before it is used',
};

const APPROVALS = { APPROVED: 'approved', UNAPPROVED: 'unapproved', REJECTED: 'rejected' };

function showJob() {
  const { Content: content = {}, State: state } = job || {};
  const isUnfinished = UNFINISHED.includes(state);
  say(get('outcome'), !job ? t('This series has not been segmented')
    : state === 'Running' ? `${t('Running')}: ${t(STAGES[content.Stage] || 'beginning')}`
      : isUnfinished ? t('Waiting') : outcomeOf(content));
  get('progress').hidden = !isUnfinished;
  get('progress').value = job?.Progress || 0;
  say(get('reason'), (state === 'Success' ? content.Report?.no_liver?.reason : content.Reason) || '');
  const facts = {
    [t('How sure')]: t(SURE[content.Report?.grade] || ''),
    [t('Model')]: content.Model ? `${content.Model.Name} (${content.Model.Sha256.slice(0, 12)})` : '',
    [t('Asked for')]: when(job?.CreationTime),
    [t('Ended')]: when(job?.CompletionTime),
    [t('Took')]: job?.CompletionTime ? `${Math.max(1, Math.round(job.EffectiveRuntime))} s` : '',
  };
  const rows = Object.entries(facts).filter(([, value]) => value).flatMap(([name, value]) =>
    [['dt', name], ['dd', value]].map(([tag, textContent]) => Object.assign(document.createElement(tag), { textContent })));
  get('facts').replaceChildren(...rows);
  const told = {
    warnings: content.Report?.warnings || [],
    sent: (content.Deliveries || []).map(describe),
    returned: (shown?.Comparisons || []).map(describeReturned),
  };
  for (const [name, lines] of Object.entries(told)) {
    list(get(name), lines);
    get(`${name}-head`).hidden = !lines.length;
  }
  showDecision();
}

// A physician's outline of the same CT.
function describeReturned(one) {
  const approval = one.Approval ? t(APPROVALS[one.Approval] || one.Approval.toLowerCase()) : '';
  const from = [one.Kind, day(one.DrawnAt), approval, isolated(one.StoredBy)].filter(Boolean).join(', ');
  if (one.Dsc === null) { return `${from}: ${t('could not be compared')}: ${one.Reason}`; }
  const apart = one.MdaMm === null ? '' : t('surfaces {mm} mm apart', { mm: one.MdaMm.toFixed(1) });
  const figures = [`DSC ${one.Dsc.toFixed(3)}`, apart,
    t('volume {ratio} of theirs', { ratio: one.Rv.toFixed(3) }),
    t('most on slice {slice} ({ml} mL)', { slice: one.WorstSlice, ml: one.WorstMl.toFixed(1) })];
  return `${from}: ${figures.filter(Boolean).join(', ')}`;
}

// A person decides on what is to be seen, and only the last job's outline can be decided on.
function showDecision() {
  const result = job?.Content.Result?.Instance;
  const review = job?.Content.Review;
  say(get('decided'), review ? decided(review) : result ? t('Nobody has decided on this outline.') : t('There is no outline of ours to decide on.'));
  get('decided').className = review?.Verdict || '';
  get('decide').hidden = !result;
  const isSeen = Boolean(result) && outline?.rtstruct === result;
  for (const button of get('decide').querySelectorAll('button')) { button.disabled = !isSeen; }
  say(get('hint'), result && !isSeen ? t('Choose the result among the outlines to decide on it.') : '');
}

async function decide(event) {
  event.preventDefault();
  const body = { Verdict: event.submitter.value, Reason: get('why').value.trim(), Rtstruct: outline.rtstruct };
  if (!get('by-label').hidden) { body.By = get('by').value.trim(); }
  const lacking = 'By' in body && !body.By ? 'by' : body.Verdict === 'rejected' && !body.Reason ? 'why' : '';
  if (lacking) {
    get(lacking).focus();
    tell(lacking === 'by' ? t('Type your name to decide.') : t('Say why the outline is rejected.'), true);
    return;
  }
  try {
    const review = await call(`${LIVER}series/${SERIES}/decision`, 'POST', JSON.stringify(body));
    await refresh();
    get('why').value = '';
    tell(`${decided(review)}.`);
  } catch (error) {
    tellError(error);
  }
}

async function refresh() {
  const jobs = await call(`${LIVER}jobs?expand&series=${SERIES}`);
  job = jobs.at(-1) || shown.Job;
  const result = job?.Content.Result?.Instance || '';
  if (result !== lookedFor) { await offerOutlines(result); }
  showJob();
}

// The result comes first.
async function offerOutlines(result) {
  const found = await call(`${LIVER}series/${SERIES}/outlines`);
  lookedFor = result;
  outlines = [...found.filter((one) => one.Rtstruct === result), ...found.filter((one) => one.Rtstruct !== result)];
  get('outline').replaceChildren(...outlines.map((one, n) => new Option(described(one), n)), new Option(t('none'), ''));
  get('outline').selectedIndex = 0;
  await chooseOutline();
}

function described({ Rtstruct, Name, Label, Date: date, Approval }) {
  const approval = Approval ? t(APPROVALS[Approval] || Approval.toLowerCase()) : t('approval not said');
  const of = [isolated(Name), isolated(Label), day(date) || t('no date'), approval].filter(Boolean).join(', ');
  return Rtstruct === lookedFor ? `${t('Result')}: ${of}` : of;
}

async function nameIt() {
  const [series, status] = await Promise.all([call(`${ORTHANC}series/${SERIES}`), call(`${LIVER}status`)]);
  const study = await call(`${ORTHANC}studies/${series.ParentStudy}`);
  const { PatientName, PatientID } = study.PatientMainDicomTags;
  sayParts(get('who'), [person(PatientName), PatientID]);
  sayParts(get('about'), [day(study.MainDicomTags.StudyDate), study.MainDicomTags.StudyDescription,
    series.MainDicomTags.SeriesDescription]);
  link(get('viewer'), status.Viewer, study, series);
}

async function begin() {
  get('queue').href = `${LIVER}app`;
  get('explore').href = `${ORTHANC}app/explorer.html#series?uuid=${SERIES}`;
  nameIt().catch(tellError);
  shown = await call(`${LIVER}series/${SERIES}/slices`);
  job = shown.Job;
  get('by-label').hidden = shown.User !== '-';
  beginWithSlices();
  showJob();
  listenToPlanes();
  listenToCut();
  listenToActivity();
  get('decide').addEventListener('submit', decide);
  get('outline').addEventListener('change', () => {
    chooseOutline().then(showDecision, tellError);
    showDecision();
  });
  await refresh().catch(tellError);
}

async function poll() {
  try {
    if (!document.hidden) { await refresh(); }
    if (isAlone) {
      tell('');
      failed.clear();
      fetchPictures();
    }
    isAlone = false;
  } catch (error) {
    isAlone = true;
    tell(`${t('No news from Orthanc')}: ${error.message}`, true);
  }
  setTimeout(poll, POLL_MS);
}

begin().then(() => setTimeout(poll, POLL_MS), tellError);
