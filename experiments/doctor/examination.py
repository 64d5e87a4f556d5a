"""All that `doctor` looks at, in tiers: this machine, data, object store, Ray, nodes, run folder.

After a FAIL in one tier the next one is not begun, so that nothing is started or written in vain.
"""

from __future__ import annotations

import math
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from shiftsearch.data.cache import open_dataset, open_pack
from shiftsearch.data.dataset import DataError, Dataset
from shiftsearch.data.os_errors import in_words
from shiftsearch.data.reading import AS_IT_IS, Reading
from shiftsearch.experiments.doctor import crosswise, stored
from shiftsearch.experiments.doctor.facts import Facts
from shiftsearch.experiments.doctor.finding import Finding, State, listed, of_all, worst
from shiftsearch.experiments.doctor.machine import CHECKS, GIB
from shiftsearch.experiments.doctor.nodes import Member, Panel, members, targets
from shiftsearch.experiments.doctor.preflight import judge, measured
from shiftsearch.experiments.doctor.shared import Meeting, meeting, pack_of
from shiftsearch.experiments.run_folder import Run
from shiftsearch.experiments.sections import ResourceRequest
from shiftsearch.search.executing.cluster import cluster, cluster_nodes
from shiftsearch.search.executing.faults import EnvironmentFault
from shiftsearch.search.executing.joined import check_address
from shiftsearch.search.executing.resources import ResourceError, fit_resources
from shiftsearch.search.executing.session_folder import session_folder

_ANY_NUMBER = 10**6  # of trials, so that only the nodes limit how many run at once


@dataclass
class Examination:
    """What was asked for, and what was found so far.

    Attributes:
        address: of the cluster; None: a local Ray is started.
        folder: a data folder, or None.
        run: the run's folder, or None.
        environment: of this process.
        storage: URL below which the run lies besides its folder; or empty.
        asked: the resources of a trial; a GPU's share that is `auto` counts as a whole GPU.
        reading: how the data folder is read.
        findings: in the order of the checks.
        nodes: facts by the node's name.
        skipped: which tiers were not begun.
    """

    address: str | None
    folder: Path | None
    run: Path | None
    environment: Mapping[str, str]
    storage: str = ""
    asked: ResourceRequest = field(default_factory=ResourceRequest)
    reading: Reading = AS_IT_IS
    findings: list[Finding] = field(default_factory=list)
    nodes: dict[str, Facts] = field(default_factory=dict)
    skipped: str = ""
    _salt: str = field(default_factory=lambda: secrets.token_hex(8))
    _dataset: Dataset | None = None
    _driver: Facts | None = None

    @property
    def state(self) -> State:
        """The worst state of all findings."""
        return worst(self.findings)

    def __call__(self) -> None:
        """Look at everything, tier by tier."""
        tiers = (
            ("this machine", self.look_at_machine),
            ("the data", self.look_at_data),
            *([("the object store", self.look_at_storage)] if self.storage else []),
            ("Ray and its nodes", self._look_at_ray),
        )
        for number, (_, look) in enumerate(tiers):
            look()
            if self.state == "FAIL":
                left = [name for name, _ in tiers[number + 1 :]]
                self.skipped = ", ".join(left)
                return

    def look_at_machine(self) -> None:
        """This machine, and whether the cluster answers."""
        session = session_folder(self.environment)
        here = self.run or Path.cwd()
        self._driver = measured(here, session, self.environment, self._salt)
        self.findings += judge(self._driver, session, self.address)

    def look_at_data(self) -> None:
        """The data folder; else the data that the run has packed."""
        try:
            if self.folder is not None:
                self._dataset, _ = open_dataset(self.folder, how=self.reading)
            elif self.run is not None and Run(self.run).pack.is_dir():
                self._dataset = open_pack(Run(self.run).pack)
        except DataError as error:
            said = listed(error.problems)
            self.findings.append(Finding("data", "FAIL", said, "see `shiftsearch data check DIR`"))

    def look_at_storage(self) -> None:
        """The object store, as this machine sees it."""
        self.findings.append(stored.finding(self.storage, {"": stored.trouble(self.storage)}))

    def look_at_nodes(self) -> None:
        """The nodes of the connected cluster, and the run folder on each."""
        found = members()
        panel = Panel(found)
        self.findings.append(_inventory(found))
        folders = {} if self.run is None else {"run": str(self.run)}
        self.nodes, silent = panel.ask("facts", lambda _: (folders, self._salt))
        if silent:
            said = listed([f"{name}: {why}" for name, why in silent.items()])
            advice = "install shiftsearch there, or take the node out of the cluster"
            self.findings.append(Finding("answers", "FAIL", said, advice))
        self._look_at(panel, found)
        if self.storage:
            troubles, silent = panel.ask("trouble", lambda _: (self.storage,))
            finding = stored.finding(self.storage, {**troubles, **silent})
            self.findings.append(_of_nodes(finding))
        if self.run is not None and self.nodes:
            self._look_at_folder(panel)

    def _look_at(self, panel: Panel, found: Sequence[Member]) -> None:
        assert self._driver is not None
        facts = {name: self.nodes[name] for name in sorted(self.nodes)}
        if not facts:
            return
        self.findings.append(crosswise.same_versions(self._driver, facts))
        given = {member.name: member.resources.get("GPU", 0.0) for member in found}
        self.findings.append(crosswise.gpus(facts, given))
        if self.address is not None:
            each = [of_all({name: check(f) for name, f in facts.items()}) for check in CHECKS]
            self.findings += [_of_nodes(finding) for finding in each]
            self.findings.append(crosswise.same_token(self._driver, facts))
        self.findings.append(crosswise.clocks(panel.clocks()))
        missing, silent = panel.ask("reach", lambda _: (targets(found),))
        missing |= {name: [why] for name, why in silent.items()}
        self.findings.append(crosswise.reached(missing))
        self.findings.append(self._trials_at_once())

    def _look_at_folder(self, panel: Panel) -> None:
        assert self.run is not None
        try:
            with meeting(self.run) as met:
                if self.storage:  # no node needs the folder
                    said = "written and locked here; nodes use the object store"
                    self.findings.append(Finding("run folder", "PASS", said))
                else:
                    self._meet(panel, met)
        except OSError as error:
            advice = "use another --run, on a disk that can be written and has locks"
            self.findings.append(Finding("run folder", "FAIL", in_words(error), advice))

    def _meet(self, panel: Panel, met: Meeting) -> None:
        pack = ""
        if self._dataset is not None:
            met.lay(self._dataset)
            pack = str(pack_of(met.folder))
        names = {name: f"node-{number}" for number, name in enumerate(sorted(self.nodes))}
        looks, silent = panel.ask(
            "look", lambda name: (str(met.folder), met.word, names[name], pack)
        )
        each = {name: met.judge(names[name], look) for name, look in looks.items()}
        for name, why in silent.items():
            each[name] = Finding("run folder", "FAIL", why, "see whether its file server answers")
        self.findings.append(of_all(each))
        if self._dataset is not None and looks:
            seen = {name: (look.digest, look.data_problem) for name, look in looks.items()}
            self.findings.append(crosswise.same_data(self._dataset.digest, seen))

    def _trials_at_once(self) -> Finding:
        name, asked = "trials at once", self.asked
        gpus = None if isinstance(asked.gpus_per_trial, str) else asked.gpus_per_trial
        try:
            resources = fit_resources(
                cluster_nodes(), asked.cpus_per_trial, gpus, asked.concurrency, _ANY_NUMBER
            )
        except ResourceError as error:
            return Finding(name, "FAIL", str(error), "ask for less, or add a larger node")
        return Finding(name, "PASS", resources.reason)

    def _look_at_ray(self) -> None:
        try:
            if self.address is not None:
                check_address(self.address)
            with (
                tempfile.TemporaryDirectory(prefix="shiftsearch-doctor-") as folder,
                cluster(self.address, Path(folder)),
            ):
                self.look_at_nodes()
        except (ResourceError, EnvironmentFault) as error:
            advice = "see whether the cluster runs" if self.address else "see its log"
            self.findings.append(Finding("ray", "FAIL", str(error), advice))


def _of_nodes(finding: Finding) -> Finding:
    return Finding(f"{finding.check} of nodes", finding.state, finding.said, finding.advice)


def _inventory(found: Sequence[Member]) -> Finding:
    """One line that names every node with its CPUs, GPUs and memory."""
    lines = []
    for member in found:
        cpus, gpus = (member.resources.get(kind, 0.0) for kind in ("CPU", "GPU"))
        memory = member.resources.get("memory", math.nan) / GIB
        lines.append(f"{member.name} {cpus:g} CPU, {gpus:g} GPU, {memory:.1f} GiB")
    return Finding("nodes", "PASS", "; ".join(lines))
