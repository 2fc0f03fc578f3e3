#!/bin/bash
# The host's tests, or those of them that are named, run on the Orthanc and the Python of another Debian
# release: other_orthanc.sh SUITE [pytest arguments]. Needs root, debootstrap and, to build, the .venv; the
# release lies in .debian-SUITE, with neither torch nor our DICOM libraries nor a browser nor other people's
# readers: tests that import those are left out (tests/test_other_orthanc.py holds the rest to it).
set -euo pipefail
suite=$1
shift
root=$PWD/.debian-$suite

build() {
  rm -rf "$root"
  debootstrap --variant=minbase "$suite" "$root" >"$root.log"
  DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y -qq --no-install-recommends \
    openssl orthanc orthanc-python orthanc-dicomweb python3 >>"$root.log"
  version=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  .venv/bin/pip install --quiet --target "$root/usr/local/lib/python$version/dist-packages" \
    --python-version "$version" --only-binary :all: --constraint constraints.txt \
    hypothesis numpy pydicom pynetdicom prometheus-client pytest pytest-timeout PyYAML requests
  touch "$root/built"
}

[ -e "$root/built" ] || build
chroot "$root" dpkg-query --show orthanc orthanc-python orthanc-dicomweb python3
mkdir -p "$root/src"
without=()
skipped="threshold_engine import|support.(browser|judges) import|orthanc_liver.dicom|activity.test_rois import"
for file in $(grep -rlE --include="test_*.py" "$skipped" tests/plugin/host); do
  without+=(--ignore "$file")
done
where=(tests/plugin/host)
for argument in "$@"; do
  [[ $argument != tests/* ]] || where=()
done
exec unshare --mount bash -c '
  root=$1; shift
  mount --rbind /proc "$root/proc"
  mount --rbind /dev "$root/dev"
  mount --bind "$PWD" "$root/src"
  exec chroot "$root" env --chdir=/src PYTHONPATH=/src/plugin:/src/model:/src \
    PYTHONDONTWRITEBYTECODE=1 python3 -m pytest -p no:cacheprovider "$@"
' bash "$root" "${without[@]}" "$@" "${where[@]}"
