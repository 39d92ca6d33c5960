"""In Airflow's own Python: run DAGs with ``dag.test()`` and print, as one line of JSON, what Airflow's database knows of them.

``run_dag.py '[["DAG_ID", "DATE", {"SETTING": "VALUE"}], ...]'``
"""
from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timezone
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.asset import AssetEvent
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.sdk import BaseSensorOperator
from airflow.utils.session import create_session

HEAVY = {"sparkq", "torch", "pyspark", "pandas", "numpy"}


def described(run: DagRun) -> dict[str, Any]:
    """Its state, the state and the tries of each task, what ``manifest`` pushed, and what its asset events say."""
    with create_session() as session:
        pushed = session.scalars(XComModel.get_many(
            run_id=run.run_id, key="return_value", task_ids="manifest", dag_ids=run.dag_id,
        )).all()
        events = session.query(AssetEvent).filter_by(source_run_id=run.run_id).all()
        return {
            "state": str(run.state),
            "tasks": {ti.task_id: [str(ti.state), ti.try_number] for ti in run.get_task_instances(session=session)},
            "manifest": XComModel.deserialize_value(pushed[0]) if pushed else None,
            "events": [[event.asset.name, event.extra] for event in events],
        }


def main(runs: str) -> None:
    """Run them one after the other."""
    folder = os.environ["AIRFLOW__CORE__DAGS_FOLDER"]
    bag = DagBag(folder)
    document: dict[str, Any] = {
        "import_errors": bag.import_errors, "loaded": sorted(HEAVY & set(sys.modules)), "runs": [],
        "dags": {dag_id: [dag.doc_md, dag.max_active_runs, dag.catchup] for dag_id, dag in bag.dags.items()},
    }
    for dag_id, date, settings in json.loads(runs):
        # Made anew, as by each of Airflow's workers: `dag.test()` leaves the settings of a run in it.
        dag = DagBag(folder).dags[dag_id]
        for task in dag.tasks:
            if isinstance(task, BaseSensorOperator):
                task.poke_interval = 3
        run = dag.test(logical_date=datetime.fromisoformat(date).replace(tzinfo=timezone.utc), run_conf=settings)
        document["runs"].append(described(run))
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
