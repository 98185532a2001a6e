"""Drills' reports as ConfigMaps of the operator's namespace: it may write them nowhere else, so they go with their drills here too."""

from __future__ import annotations

import structlog

from turnout_operator.drills import names, report
from turnout_operator.drills.expected import Expected
from turnout_operator.drills.verdict import Judgement
from turnout_operator.kube.client import ApiError, Client, Unreachable
from turnout_operator.kube.resources import CONFIG_MAPS

log = structlog.get_logger(__name__)
LABEL = "turnout.dev/drill-report"
_OF = "turnout.dev/of"


class Reports:
    """Blocking."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    def store(self, facts: report.Facts, expected: Expected, judgement: Judgement) -> str:
        """The report's name; empty where it could not be stored, because a verdict does not wait for its report."""
        name = names.report_name(facts.namespace, facts.drill)
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": self._namespace,
                "labels": {LABEL: "true", "app.kubernetes.io/managed-by": "turnout"},
                "annotations": {_OF: f"{facts.namespace}/{facts.drill}"},
            },
            "data": {
                "report.json": report.as_json(facts, expected, judgement),
                "report.md": report.as_markdown(facts, expected, judgement),
            },
        }
        try:
            self._client.apply(CONFIG_MAPS, body)
        except (ApiError, Unreachable) as e:
            log.warning("drill report not stored", namespace=facts.namespace, drill=facts.drill, error=str(e))
            return ""
        return name

    def delete(self, namespace: str, drill: str) -> None:
        self._client.delete(CONFIG_MAPS, self._namespace, names.report_name(namespace, drill))

    def sweep(self, drills: set[str]) -> None:
        """Deletes the reports of drills (namespace/name) that are not among these."""
        for item in list(self._client.every(CONFIG_MAPS, self._namespace, labels=LABEL)):
            if (item["metadata"].get("annotations") or {}).get(_OF) not in drills:
                self._client.delete(CONFIG_MAPS, self._namespace, item["metadata"]["name"])
