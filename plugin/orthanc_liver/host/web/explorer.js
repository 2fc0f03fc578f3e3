// "Segment liver" on the study and series pages of Orthanc Explorer. Orthanc gives this to the
// browser after the Explorer's own script; all paths are relative, for a proxy may add a prefix.
(function () {
  'use strict';

  var POLL_MS = 1000;
  var UNFINISHED = ['Pending', 'Running', 'Retry'];
  var LEVELS = {
    series: { path: 'series', ofSeries: '' },
    study: { path: 'studies', ofSeries: '/series' }
  };

  Object.keys(LEVELS).forEach(function (level) {
    $('#' + level).live('pagebeforecreate', function () { addList(level); });
    $('#' + level).live('pagebeforeshow', function () { showList(level); });
  });

  function addList(level) {
    var list = $('<ul data-role="listview" data-inset="true" data-theme="d" data-divider-theme="c">');
    list.attr('id', 'liver-' + level).hide();
    list.append('<li data-role="list-divider">Liver</li>');
    list.append($('<li data-icon="gear">').append(
      $('<a href="#">').attr('id', 'liver-segment-' + level).text('Segment liver')));
    list.append('<li data-icon="grid"><a href="../liver/app" rel="external">All liver jobs</a></li>');
    $('#' + level + '-delete').closest('ul').before(list);
    $('#liver-segment-' + level).live('click', function (event) {
      event.preventDefault();
      segment(level, $.mobile.pageData.uuid);
    });
  }

  // Only where there is something to segment: the server says which modality that is.
  function showList(level) {
    var uuid = $.mobile.pageData && $.mobile.pageData.uuid;
    $('#liver-' + level).hide();
    if (!uuid) { return; }
    $.getJSON('../liver/status', function (status) {
      $.getJSON('../' + LEVELS[level].path + '/' + uuid + LEVELS[level].ofSeries, function (found) {
        var fits = [].concat(found).some(function (series) {
          return series.MainDicomTags.Modality === status.Modality;
        });
        if (fits && isShown(level, uuid)) {
          render(level, []);
          $('#liver-' + level).show();
          follow(level, uuid);
        }
      });
    });
  }

  function segment(level, uuid) {
    $.ajax({
      url: '../liver/' + LEVELS[level].path + '/' + uuid + '/segment',
      type: 'POST',
      dataType: 'json',
      success: function (answer) {
        if ([].concat(answer).length === 0) {
          render(level, [$('<span>').text('No series of this study passes the settings.')]);
        } else {
          follow(level, uuid);
        }
      },
      error: function (answer) {
        render(level, [$('<span>').text(messageOf(answer))]);
      }
    });
  }

  function messageOf(answer) {
    try {
      return JSON.parse(answer.responseText).Message;
    } catch (error) {
      return 'Orthanc did not accept this (HTTP ' + answer.status + ').';
    }
  }

  // Show how the jobs stand, and look again while one of them is not over.
  function follow(level, uuid) {
    $.getJSON('../liver/jobs?expand&' + level + '=' + uuid, function (jobs) {
      var last = {};
      if (!isShown(level, uuid)) { return; }
      jobs.forEach(function (job) { last[job.Content.Series] = job; });
      jobs = Object.keys(last).map(function (series) { return last[series]; });
      render(level, [].concat.apply([], jobs.map(function (job) {
        return [describeSafely(job)].concat(review(job));
      })));
      if (jobs.some(function (job) { return UNFINISHED.indexOf(job.State) >= 0; })) {
        setTimeout(function () { follow(level, uuid); }, POLL_MS);
      }
    });
  }

  function isShown(level, uuid) {
    return $.mobile.activePage && $.mobile.activePage.attr('id') === level &&
      $.mobile.pageData && $.mobile.pageData.uuid === uuid;
  }

  // Where a result is looked at and decided on, and the slices where there is none.
  function review(job) {
    var hasResult = job.State === 'Success' && job.Content && job.Content.Result;
    return [$('<a rel="external">').text(hasResult ? 'Review the outline' : 'Look at the slices').attr(
      'href', '../liver/series/' + encodeURIComponent(job.Content.Series) + '/review')];
  }

  // One job that cannot be told must not hide the others.
  function describeSafely(job) {
    try {
      return describe(job);
    } catch (error) {
      return $('<span>').text('This job cannot be shown: ' + error.message);
    }
  }

  function describe(job) {
    var content = job.Content;
    if (job.State === 'Success' && content.Result) {
      return $('<a>').attr('href', '#instance?uuid=' + encodeURIComponent(content.Result.Instance))
        .text('RTSTRUCT: liver ' + Math.round(content.Report.liver_ml) + ' mL');
    }
    if (job.State === 'Success') {
      var why = content.Report && content.Report.no_liver;
      return $('<span>').text(content.Outcome + (why ? ': ' + why.reason : ''));
    }
    if (job.State === 'Failure') {
      return $('<span>').text((content.Outcome || 'failed') + ': ' + content.Reason);
    }
    return $('<span>').text(job.State + ' ' + content.Stage + ' ' + job.Progress + ' %');
  }

  function render(level, lines) {
    var list = $('#liver-' + level);
    $('.liver-line', list).remove();
    lines.forEach(function (line) {
      list.append($('<li class="liver-line" style="white-space:normal">').append(line));
    });
    list.listview('refresh');
  }
})();
