#!/bin/sh
# Without a password everybody who reaches the port would be let in.
if [ -z "$ORTHANC_PASSWORD" ]; then
  echo "Set ORTHANC_PASSWORD, the password of the user orthanc." >&2
  exit 1
fi
# Orthanc puts it between the quotes of orthanc.json as it is, a " and a \ included.
ORTHANC_PASSWORD_AS_JSON=$(python3 -c '
import json, os
print(json.dumps(os.environ["ORTHANC_PASSWORD"])[1:-1])') || exit 1
export ORTHANC_PASSWORD_AS_JSON
exec Orthanc /etc/orthanc-liver
