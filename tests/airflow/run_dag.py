"""In Airflow's own Python: ``run_dag.py DAG_ID DATE`` runs one date with ``dag.test()`` and prints what Airflow's database knows."""
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
from airflow.utils.session import create_session


def described(run: DagRun) -> dict[str, Any]:
    """Its state, the state and tries of each task, what ``manifest`` pushed, and asset events."""
    with create_session() as session:
        pushed = session.scalars(XComModel.get_many(
            run_id=run.run_id, key="return_value", task_ids="manifest", dag_ids=run.dag_id,
        )).all()
        tasks = {ti.task_id: [str(ti.state), ti.try_number] for ti in run.get_task_instances(session=session)}
        events = [event.extra for event in session.query(AssetEvent).all() if event.source_run_id == run.run_id]
        return {
            "state": str(run.state), "tasks": tasks, "events": events,
            "manifest": XComModel.deserialize_value(pushed[0]) if pushed else None,
        }


def main(dag_id: str, date: str) -> None:
    """Run it."""
    dag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]).dags[dag_id]
    for task in dag.tasks:
        if hasattr(task, "poke_interval"):
            task.poke_interval = 1
    run = dag.test(logical_date=datetime.fromisoformat(date).replace(tzinfo=timezone.utc))
    print(json.dumps(described(run)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
