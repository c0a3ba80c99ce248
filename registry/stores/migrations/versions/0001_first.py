"""The first schema: models, environments, runs and their metrics, services, values.

A migration names its columns itself. It never imports `tables.py`, which will have moved on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

NAME = sa.String(255)
DIGEST = sa.String(64)
TIME = sa.String(32)


def upgrade() -> None:
    op.create_table(
        "revision",
        sa.Column("id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revision"),
        sa.CheckConstraint("id = 1", name=op.f("ck_revision_one_row")),
    )
    op.execute("INSERT INTO revision (id, value) VALUES (1, 0)")
    op.create_table(
        "model_names",
        sa.Column("name", NAME, nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_model_names"),
    )
    op.create_table(
        "experiments",
        sa.Column("name", NAME, nullable=False),
        sa.Column("last_number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_experiments"),
    )
    op.create_table(
        "models",
        sa.Column("name", NAME, nullable=False),
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("created_time", TIME, nullable=False),
        sa.Column("artifact_digest", DIGEST, nullable=False),
        sa.Column("artifact_size", sa.BigInteger, nullable=False),
        sa.Column("artifact_kind", sa.String(16), nullable=False),
        sa.Column("artifact_name", sa.Text, nullable=False),
        sa.Column("artifact_format", sa.String(16), nullable=False),
        sa.Column("framework", sa.Text),
        sa.Column("framework_version", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("properties", sa.Text, nullable=False),
        sa.Column("cpu", sa.Float(53), nullable=False),
        sa.Column("memory_in_gb", sa.Float(53), nullable=False),
        sa.Column("run_id", sa.String(300)),
        sa.Column("experiment_name", NAME),
        sa.Column("created_by", sa.Text),
        sa.Column("environment", DIGEST),
        sa.Column("code", DIGEST),
        sa.Column("sample", DIGEST),
        sa.Column("sample_name", sa.Text),
        sa.Column("golden", DIGEST),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_models"),
        sa.ForeignKeyConstraint(["name"], ["model_names.name"], name="fk_models_name"),
    )
    op.create_table(
        "environments",
        sa.Column("name", NAME, nullable=False),
        sa.Column("version", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("created_time", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", "version", name="pk_environments"),
    )
    op.create_index("ix_environments_digest", "environments", ["digest"])
    op.create_table(
        "runs",
        sa.Column("id", sa.String(300), nullable=False),
        sa.Column("experiment", NAME, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("created_time", TIME, nullable=False),
        sa.Column("start_time", TIME),
        sa.Column("end_time", TIME),
        sa.Column("script", sa.Text),
        sa.Column("arguments", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("environment", DIGEST),
        sa.Column("snapshot", sa.Text),
        sa.Column("parent", sa.String(300)),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("display_name", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("properties", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("exit_code", sa.Integer),
        sa.Column("pid", sa.BigInteger),
        sa.Column("details", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sa.ForeignKeyConstraint(["experiment"], ["experiments.name"], name="fk_runs_experiment"),
    )
    op.create_index("ix_runs_experiment", "runs", ["experiment", "number"], unique=True)
    op.create_index("ix_runs_parent", "runs", ["parent"])
    op.create_table(
        "metrics",
        sa.Column("run_id", sa.String(300), nullable=False),
        sa.Column("sequence", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("step", sa.BigInteger),
        sa.Column("description", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "sequence", name="pk_metrics"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name="fk_metrics_run_id"),
    )
    op.create_table(
        "services",
        sa.Column("name", NAME, nullable=False),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("created_time", TIME, nullable=False),
        sa.Column("updated_time", TIME, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("properties", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        sa.PrimaryKeyConstraint("name", name="pk_services"),
    )
    op.create_table(
        "named_values",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_named_values"),
    )
