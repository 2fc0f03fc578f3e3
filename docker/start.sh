#!/bin/sh
# Without a password everybody who reaches the port would be let in.
if [ -z "$ORTHANC_PASSWORD" ]; then
  echo "Set ORTHANC_PASSWORD, the password of the user orthanc." >&2
  exit 1
fi
exec Orthanc /etc/orthanc-liver
