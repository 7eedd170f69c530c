"""What the console shows of real runs and sites: under way, ended, killed, damaged, maliciously named."""

import json
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from federation_in_process import Federation
from framed_page import CHROMIUM, measured

from client.console import site_page
from client.console_state import site_now
from client.site_home import SiteHome
from evaluation.report.verdicts import verdicts
from federation import file_lock
from federation.audit_log import AuditLog
from federation.console_page.page import document
from federation.drift_summary import DriftFinding, WindowDrift
from federation.run_folder import RunFolder
from federation.site_policy import SitePolicy
from privacy.ledger import Ledger
from server.console import coordinator_page, coordinator_source
from server.console_state import coordinator_now, holds_runs
from simulations.consortium import FIRST_SERIAL  # noqa: F401 - replaced below
