#!/bin/sh
# Installs orthanc-liver from this folder alone, without a network: ./install.sh [ENVIRONMENT]. PYTHON
# names another Python than python3.
set -eu
environment=${1:-/opt/orthanc-liver}
cd "$(dirname "$0")"
python=${PYTHON:-python3}
here=$("$python" -c 'import platform, sys
print("python%d.%d" % sys.version_info[:2] + "-" + platform.machine())')
if [ "$here" != "$(cat made-for)" ]; then
  echo "install.sh: this archive is for $(cat made-for), and $python is $here" >&2
  exit 1
fi
"$python" -m venv "$environment" # on Debian and Ubuntu this needs the package python3-venv
"$environment/bin/python" -m pip --isolated --quiet --disable-pip-version-check install \
  --no-index --find-links wheels --require-hashes --requirement requirements.txt
"$environment/bin/orthanc-liver" --version
script=$("$environment/bin/python" -c 'import sysconfig
print(sysconfig.get_path("purelib"))')/orthanc_plugin.py
echo "Name the script in Orthanc's configuration: { \"PythonScript\": \"$script\" }"
