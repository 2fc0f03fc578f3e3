#!/usr/bin/env python3
"""The container's health check: Orthanc answers, and the model is loaded."""

import base64
import json
import os
import sys
import urllib.request

user = base64.b64encode(f"orthanc:{os.environ['ORTHANC_PASSWORD']}".encode()).decode()
request = urllib.request.Request(
    "http://127.0.0.1:8042/liver/status", headers={"Authorization": f"Basic {user}"}
)
with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 the address is fixed
    status = json.load(answer)
sys.exit(0 if status["Engine"] == "ready" and not status["SettingsProblems"] else 1)
