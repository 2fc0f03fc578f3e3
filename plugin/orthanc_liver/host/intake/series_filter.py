"""Which series are segmented by themselves, and may be when somebody asks."""

from __future__ import annotations

from orthanc_liver.host.filter_conditions import why_not_met
from orthanc_liver.host.intake.best_of_study import rank
from orthanc_liver.host.intake.series_tags import SeriesTags
from orthanc_liver.host.server.api import Missing, Orthanc, Series
from orthanc_liver.host.server.image_series import image_series
from orthanc_liver.host.settings import Settings

_TRIED = 50
_CHANGES_AT_ONCE, _PAGES = 1000, 40


class SeriesFilter:
    """The settings that say which series are taken, applied to what Orthanc holds."""

    def __init__(self, orthanc: Orthanc, settings: Settings) -> None:
        self._orthanc = orthanc
        self._settings = settings

    def why_not(self, series: Series) -> str | None:
        """One sentence where the settings do not admit the series, else None.

        Names attributes and what the settings ask of them, never the attributes' values.
        """
        return self._why_not(SeriesTags(self._orthanc, series))

    def why_not_by_itself(self, series: Series) -> str | None:
        """The same for a series that nobody asked for: where OnePerStudy is set, only the best of
        those that the study holds by now is taken."""
        if refusal := self.why_not(series):
            return refusal
        if self._settings.one_per_study:
            [best] = self.wanted(series.study) or [series.id]
            if best != series.id:
                return f"OnePerStudy: series {best} of its study is taken instead"
        return None

    def wanted(self, study_id: str) -> list[str]:
        """The series of a study that the settings admit, or the best of them with OnePerStudy."""
        admitted = []
        for series_id in self._orthanc.get(f"/studies/{study_id}")["Series"]:
            try:
                tags = SeriesTags(self._orthanc, self._images_of(series_id))
                if not self._why_not(tags):
                    admitted.append(tags)
            except Missing:  # deleted meanwhile
                continue
        if self._settings.one_per_study and admitted:
            admitted = [min(admitted, key=rank)]
        return [tags.series.id for tags in admitted]

    def try_on_last(self) -> list[dict[str, object]]:
        """Of the last series that came: whether they would be taken by themselves, else why not."""
        found: list[dict[str, object]] = []
        for series_id in self._last_series():
            try:
                why = self.why_not_by_itself(self._images_of(series_id))
            except Missing:
                continue
            found.append({"Series": series_id, "Taken": why is None, "Why": why or ""})
        return found

    def _images_of(self, series_id: str) -> Series:
        return image_series(self._orthanc, self._orthanc.series(series_id))

    def _why_not(self, tags: SeriesTags) -> str | None:
        settings = self._settings
        if tags.series.tags.get("Modality", "") != settings.modality:
            return f"the series is not of modality {settings.modality}"
        if len(tags.series.instances) < settings.minimum_slices:
            return (
                f"the series has {len(tags.series.instances)} instances, "
                f"fewer than MinimumSlices, {settings.minimum_slices}"
            )
        return why_not_met(settings.filter, tags.value)

    def _last_series(self) -> list[str]:
        """From the end of Orthanc's change log, newest first."""
        found: dict[str, None] = {}
        end = int(self._orthanc.get("/changes?last")["Last"])
        for _ in range(_PAGES):
            since = max(end - _CHANGES_AT_ONCE, 0)
            page = self._orthanc.get(f"/changes?since={since}&limit={_CHANGES_AT_ONCE}")["Changes"]
            for change in reversed([one for one in page if one["Seq"] <= end]):
                if change["ChangeType"] == "NewSeries":
                    found.setdefault(change["ID"])
                    if len(found) == _TRIED:
                        return list(found)
            if since == 0:
                break
            end = since
        return list(found)
