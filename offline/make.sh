#!/usr/bin/env bash
# Makes an archive that installs orthanc-liver without a network: offline/make.sh PYTHON OUT. It is
# for the release and the kind of processor of PYTHON; pip's own variables say where it looks.
set -euo pipefail
python=$(realpath --no-symlinks "$1")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."
rm -rf build/lib build/bdist.* # an earlier build may have left what is no longer there

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' plugin/orthanc_liver/__init__.py)
made_for=$("$python" -c 'import platform, sys
print("python%d.%d" % sys.version_info[:2] + "-" + platform.machine())')
name=orthanc-liver-$version-$made_for
folder=$out/$name
rm -rf "$folder"
mkdir "$folder"

"$python" -m pip wheel --quiet --constraint constraints.txt --wheel-dir "$folder/wheels" .
for wheel in "$folder"/wheels/*.whl; do
  IFS=- read -r package release _ <<<"$(basename "$wheel")"
  echo "$package==$release --hash=sha256:$(sha256sum <"$wheel" | cut -d ' ' -f 1)"
done >"$folder/requirements.txt"
echo "$made_for" >"$folder/made-for"
cp offline/install.sh offline/README.txt LICENSE docs/INSTALL.md "$folder"

tar --create --file "$out/$name.tar" --directory "$out" --owner root --group root "$name"
rm -rf "$folder"
(cd "$out" && sha256sum "$name.tar" >"$name.tar.sha256")
echo "$out/$name.tar"
