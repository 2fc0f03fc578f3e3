"""What identifiers look like, as regular expressions: what others wrote must match them."""

# Of patients, studies, series and instances in Orthanc.
RESOURCE = "[0-9a-f]{8}(?:-[0-9a-f]{8}){4}"
# Of jobs, Orthanc's and ours, and of deliveries.
JOB = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
DICOM_UID = "[0-9](?:[0-9.]{0,62}[0-9])?"
SHA256 = "[0-9a-f]{64}"
MD5 = "[0-9a-f]{32}"
