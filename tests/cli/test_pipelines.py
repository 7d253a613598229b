"""The pipeline files of docs/pipelines, run step by step in a shell on a scratch authority: they cannot rot."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.cli.service_world import ServiceWorld
from tests.cli.world import PRODUCT, PROGRAM, label

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "pipelines"
VERSION = "1.2.3"
TIME_LIMIT_SECONDS = 120
_EXPRESSION = re.compile(r"\$\{\{ ([a-z._]+) \}\}")
_MAKEFILE = """\
release:
\tmkdir -p out
\tcp firmware.bin out/app.elf
\tcp sbom.json out/app.cdx.json
\tcp results.xml out/tests.xml
"""


def _load(name: str) -> Any:
    return YAML(typ="safe").load(FOLDER / name)


@dataclass
class Forge:
    """What a forge and its runners give a job, as far as the scripts can see: folders, remotes, variables."""

    world: ServiceWorld
    folder: Path

    @property
    def source(self) -> Path:
        return self.folder / "pumps" / "firmware"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def authority(self) -> Path:
        return self.world.root

    def set_up(self) -> None:
        """A tagged source with a Makefile, and the authority with a remote, both under git."""
        self.store.mkdir()
        self.source.mkdir(parents=True)
        shutil.copy(self.world.firmware("app"), self.source / "firmware.bin")
        shutil.copy(self.world.sbom, self.source / "sbom.json")
        shutil.copy(self.world.tests, self.source / "results.xml")
        (self.source / "Makefile").write_text(_MAKEFILE, encoding="utf-8")
        remote = self.folder / "authority.git"
        for command in (
            ("git", "init", "--quiet", "--bare", remote),
            *self._commit(self.source),
            ("git", "-C", self.source, "tag", f"v{VERSION}"),
            *self._commit(self.authority),
            ("git", "-C", self.authority, "remote", "add", "origin", remote),
            ("git", "-C", self.authority, "push", "--quiet", "--set-upstream", "origin", "HEAD"),
        ):
            subprocess.run(command, check=True, env=self.environment, timeout=TIME_LIMIT_SECONDS)

    def _commit(self, folder: Path) -> Iterator[tuple[str | Path, ...]]:
        yield "git", "init", "--quiet", folder
        yield "git", "-C", folder, "add", "."
        yield "git", "-C", folder, "commit", "--quiet", "--message", "as reviewed"

    @property
    def environment(self) -> dict[str, str]:
        people = dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "release pipeline")
        people |= dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "release-pipeline@example.org")
        return {
            **self.world.environment,
            **people,
            "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "STRONGROOM_AUTHORITY": str(self.authority),
            "RELEASE_STORE": str(self.store),
            "GITHUB_SERVER_URL": str(self.folder),
            "GITHUB_REPOSITORY": "pumps/firmware",
            "CI_COMMIT_TAG": f"v{VERSION}",
        }

    def run(self, script: str, variables: Mapping[str, str], folder: Path) -> str:
        """As runners do it: bash, ending at the first failure."""
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=folder, env={**self.environment, **variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=TIME_LIMIT_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def people_ask_and_approve(self, files: Path) -> None:
        """What README.md says that people do, and the merge."""
        folder = self.authority / "requests" / PRODUCT / VERSION
        folder.mkdir(parents=True)
        self.world.ok(
            "package", "request", files / "app.prepared.srp", "-p", PRODUCT, "--as", "ada", "--ssh-key",
            self.world.ssh_key("ada").path, "--sbom", files / "app.cdx.json", "--tests", files / "tests.xml",
            "-o", folder / "app.request.json",
        )  # fmt: skip
        for person in ("ben", "cleo"):
            self.world.approve(folder / "app.request.json", person)
            for name in (f"app.{person}.approval.json", f"app.{person}.approval.json.sig"):
                (folder / name).rename(folder / name.removeprefix("app."))
        script = "git add requests && git commit --quiet --message asked && git push --quiet"
        self.run(script, {}, self.authority)

    def require_released(self, folder: Path) -> None:
        evidence = self.authority / "releases" / PRODUCT / f"application-{VERSION}.evidence.json"
        assert evidence.read_bytes() == (folder / f"app-{VERSION}.evidence.json").read_bytes()
        assert (folder / f"app-{VERSION}.srp").exists()
        pushed = self.run(
            "git show --stat --format=%s origin/HEAD 2>/dev/null || git show --stat --format=%s @{u}",
            {},
            self.authority,
        )
        assert f"Release {PRODUCT} {VERSION}" in pushed
        assert evidence.name in pushed


@pytest.fixture
def forge(service_world: ServiceWorld, tmp_path: Path) -> Forge:
    pem = service_world.root / "public" / "group.pem"
    service_world.ok("key", "export", label("compat"), "--out", pem)
    text = service_world.product_file.read_text(encoding="utf-8")
    text = text.replace('recipient = "device"', 'recipient = "group"\ngroup_public_key = "public/group.pem"', 1)
    service_world.product_file.write_text(text, encoding="utf-8")
    made = Forge(service_world, tmp_path)
    made.set_up()
    return made


# GitHub


def _github_variables(*mappings: Mapping[str, str]) -> dict[str, str]:
    """`env` of workflow and job, with its expressions evaluated as for a tag, or for a run by hand."""
    values = {"github.ref_name": f"v{VERSION}", "github.token": "secret-of-the-forge", "inputs.version": VERSION}
    return {
        name: _EXPRESSION.sub(lambda match: values[match[1]], text)
        for mapping in mappings
        for name, text in mapping.items()
    }


def _run_github_job(forge: Forge, workflow: Any, name: str, folder: Path) -> None:
    job = workflow["jobs"][name]
    variables = _github_variables(workflow["env"], job.get("env", {}))
    for step in job["steps"]:
        forge.run(step["run"], variables, folder)


def test_the_github_workflow_releases(forge: Forge, tmp_path: Path) -> None:
    workflow = _load("github-actions.yml")
    runner = tmp_path / "runner"
    runner.mkdir()
    for name in ("build", "prepare"):
        _run_github_job(forge, workflow, name, runner)
    forge.people_ask_and_approve(forge.store / VERSION)
    for name in ("sign", "release"):
        _run_github_job(forge, workflow, name, runner)
    forge.require_released(forge.store / VERSION)
    for name in ("sign", "release"):
        _run_github_job(forge, workflow, name, runner)
    assert forge.world.log_kinds() == ["sign-intent", "sign-result", "released"]


def test_the_github_workflow_runs_nobodys_actions_and_takes_no_text_into_its_scripts() -> None:
    workflow = _load("github-actions.yml")
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert all(set(step) == {"name", "run"} for step in job["steps"])
        assert not any("${{" in step["run"] for step in job["steps"])


# GitLab


def _run_gitlab_job(forge: Forge, pipeline: Any, name: str) -> None:
    variables = {key: str(value) for key, value in pipeline["variables"].items()}
    forge.run("\n".join(pipeline[name]["script"]), variables, forge.source)


def test_the_gitlab_pipeline_releases(forge: Forge) -> None:
    pipeline = _load("gitlab-ci.yml")
    for name in ("build", "prepare"):
        _run_gitlab_job(forge, pipeline, name)
    forge.people_ask_and_approve(forge.source / "out")
    for name in ("sign", "release"):
        _run_gitlab_job(forge, pipeline, name)
    forge.require_released(forge.source / "out")
    for job in ("build", "prepare", "sign", "release"):
        assert job in pipeline["stages"]
        for path in pipeline[job].get("artifacts", {}).get("paths", []):
            assert list(forge.source.glob(path)), path


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_only_jobs_that_need_a_token_run_beside_it(name: str) -> None:
    document = _load(name)
    jobs = document["jobs"] if "jobs" in document else {job: document[job] for job in document["stages"]}
    for job in jobs.values():
        runner = job.get("runs-on") or job["tags"]
        scripts = "\n".join(job.get("script") or [step["run"] for step in job["steps"]])
        assert ("hsm" in runner) is ("strongroom " in scripts)
