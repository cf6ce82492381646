"""Terraform's module against moto: apply, plan without drift, rules over everything that was made, destroy.

usage: terraform.py FOLDER      FOLDER keeps the state; needs terraform, and its AWS provider from the registry or from a
                                mirror that TF_CLI_CONFIG_FILE names. Exit code 77: it cannot be had.
"""

import copy
import hashlib
import json
import pathlib
import shutil
import sys

import boto3

import rules
from cloud import Cloud, Terraform

KEY = "a key of thirty-two characters !"
EVENT = {"source": "s3://b/sources/", "collection": "docs", "distance": "cosine", "options": {"replace": True}}
SCENARIOS = {
    "defaults": {"bucket": "cairn-defaults"},
    "everything": {
        "bucket": "cairn-everything",
        "name": "stones",
        "prefix": "deep/cairn",
        "architecture": "x86_64",
        "api_key": KEY,
        "read_only_api_key": KEY[::-1],
        "leaf_count": 3,
        "leaf_concurrency": 20,
        "versioning": "Enabled",
        "noncurrent_days": 3,
        "kms_key_arn": "arn:aws:kms:eu-central-1:123456789012:key/0f0f",
        "source_bucket_arns": ["arn:aws:s3:::elsewhere"],
        "parallel_builds": True,
        "schedules": {
            "nightly": {"schedule": "cron(0 3 * * ? *)", "event": json.dumps(EVENT)},
            "hourly": {"schedule": "rate(1 hour)", "event": json.dumps(EVENT), "enabled": False},
        },
        "gc": {"schedule": "rate(30 minutes)", "grace": "3days"},
        "compact": {"the docs": "rate(1 minute)", "others": "rate(5 minutes)"},
        "alarm_topic_arn": "arn:aws:sns:eu-central-1:123456789012:alarms",
        "log_days": 7,
        "tags": {"team": "search"},
    },
    "read-only": {"bucket": "cairn-read-only", "searcher_read_only": True, "versioning": "Suspended", "alarms": False, "source_prefix": None, "gc": None},
}
# Each must be refused before anything is made, naming the variable.
REFUSED = [
    ("name", "Cairn"),
    ("bucket", "A"),
    ("prefix", "/cairn/"),
    ("prefix", "a/*"),
    ("source_prefix", ".."),
    ("source_bucket_arns", ["arn:aws:s3:::elsewhere/*"]),
    ("architecture", "arm"),
    ("api_key", "short"),
    ("searcher_memory_mb", 64),
    ("searcher_disk_mb", 128),
    ("searcher_concurrency", 0),
    ("leaf_count", 65),
    ("leaf_count", 1.5),
    ("indexer_memory_mb", 20000),
    ("schedules", {"nightly": {"schedule": "0 3 * * *", "event": "{}"}}),
    ("schedules", {"nightly": {"schedule": "rate(1 day)", "event": "[]"}}),
    ("schedules", {"Nightly": {"schedule": "rate(1 day)", "event": "{}"}}),
    ("gc", {"schedule": "hourly"}),
    ("gc", {"grace": "soon"}),
    ("compact", {"docs": "60"}),
    ("log_days", 31),
    ("noncurrent_days", 0),
    ("versioning", "On"),
    ("kms_key_arn", "alias/key"),
]


def check(holds, why):
    if not holds:
        sys.exit(f"terraform.py: {why}")


def rules_can_fail(state):
    """Every rule that matters finds the fault that it is for: in a copy that has it."""

    def with_policy(role, change):
        def edit(resource):
            if resource["type"] == "aws_iam_role_policy" and resource["name"] == role:
                policy = json.loads(resource["values"]["policy"])
                change(policy["Statement"])
                resource["values"]["policy"] = json.dumps(policy)

        return edit

    def with_value(kind, key, value):
        def edit(resource):
            if resource["type"] == kind:
                resource["values"][key] = value

        return edit

    def statement(sid, key, value):
        return lambda statements: next(s for s in statements if s.get("Sid") == sid).update({key: value})

    def listing_all(statements):
        next(s for s in statements if s.get("Sid") == "List").pop("Condition")

    damages = [
        ("is a wildcard", with_policy("indexer", statement("Write", "Action", ["s3:*"]))),
        ("too wide", with_policy("searcher", statement("Read", "Resource", "*"))),
        ("whole bucket", with_policy("indexer", statement("Write", "Resource", "arn:aws:s3:::cairn-everything/*"))),
        ("not among", with_policy("leaf", statement("Read", "Action", "s3:PutObject"))),
        ("lists the whole", with_policy("searcher", listing_all)),
        ("is off", with_value("aws_s3_bucket_public_access_block", "block_public_policy", False)),
        ("not encrypted", with_value("aws_s3_bucket_server_side_encryption_configuration", "rule", [])),
        ("never aborted", with_value("aws_s3_bucket_lifecycle_configuration", "rule", [])),
        ("kept for ever", with_value("aws_cloudwatch_log_group", "retention_in_days", 0)),
        ("leaf's URL is open", with_value("aws_lambda_function_url", "authorization_type", "NONE")),
        ("asks for no key", with_value("aws_lambda_function", "environment", [{"variables": {}}])),
        ("whoever's it is", with_value("aws_lambda_permission", "source_arn", None)),
    ]
    for sign, edit in damages:
        damaged = copy.deepcopy(state)
        modules = [damaged["values"]["root_module"]]
        while modules:
            module = modules.pop()
            modules.extend(module.get("child_modules", []))
            for resource in module.get("resources", []):
                edit(resource)
        found = list(rules.faults(damaged))
        check(any(sign in fault for fault in found), f"no rule says {sign!r} of a state that deserves it: {found}")


def upkeep(scenario):
    """The schedules that no scenario spells out: of the collector and of what is compacted."""
    gc = scenario.get("gc", {})
    jobs = {}
    if gc is not None:
        event = {"job": "gc", "grace": gc.get("grace", "24h")}
        jobs["gc"] = {"schedule": gc.get("schedule", "rate(1 hour)"), "event": json.dumps(event)}
    for collection, schedule in scenario.get("compact", {}).items():
        name = "compact-" + hashlib.sha1(collection.encode()).hexdigest()[:10]
        jobs[name] = {"schedule": schedule, "event": json.dumps({"job": "compact", "collection": collection})}
    return jobs


def described_as_asked(scenario, outputs, cloud, folder):
    """What the cloud says, not what Terraform says of it."""
    def client(service):
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=cloud.url, region_name="eu-central-1", **keys)

    functions = client("lambda")
    searcher = functions.get_function_configuration(FunctionName=outputs["searcher"])
    variables = searcher["Environment"]["Variables"]
    check(variables["CAIRN_STORE"] == outputs["store"], f"the searcher's store is {variables}")
    leaves = scenario.get("leaf_count", 0)
    check(len(outputs["leaves"]) == leaves, f"{outputs['leaves']} are not {leaves} leaves")
    urls = [url for url in variables.get("CAIRN_LEAVES", "").split(",") if url]
    check(urls == [url.rstrip("/") for url in outputs["leaves"]], f"the root knows {urls}")
    for number in range(leaves):
        leaf = functions.get_function_configuration(FunctionName=outputs["searcher"].replace("searcher", f"leaf-{number}"))
        role = leaf["Environment"]["Variables"].get("CAIRN_ROLE")
        check(role == "leaf" and leaf["Role"] == outputs["roles"]["leaf"], f"leaf {number} is {leaf}")
    check("CAIRN_ROLE" not in variables and "leaf" not in searcher["Role"], "the searcher is a leaf")
    check(searcher["Architectures"] == [scenario.get("architecture", "arm64")], "another architecture")
    check(variables.get("CAIRN_API_KEY") == scenario.get("api_key"), "another key")
    events = client("events")
    schedules = upkeep(scenario) | scenario.get("schedules", {})
    rules = {rule["Name"] for rule in events.list_rules(NamePrefix=f"{scenario.get('name', 'cairn')}-")["Rules"]}
    expected = {f"{scenario.get('name', 'cairn')}-{name}" for name in schedules}
    check({rule for rule in rules if "-gc" in rule or "-compact" in rule} <= expected, f"more jobs than asked for: {rules}")
    for name, schedule in schedules.items():
        rule = events.describe_rule(Name=f"{scenario.get('name', 'cairn')}-{name}")
        check(rule["ScheduleExpression"] == schedule["schedule"], f"{rule}")
        check(rule["State"] == ("ENABLED" if schedule.get("enabled", True) else "DISABLED"), f"{rule}")
        (target,) = events.list_targets_by_rule(Rule=rule["Name"])["Targets"]
        check(json.loads(target["Input"]) == json.loads(schedule["event"]), f"{target}")
    if scenario.get("parallel_builds"):
        machine = client("stepfunctions").describe_state_machine(stateMachineArn=outputs["shards"])
        state_machine_is_sound(json.loads(machine["definition"]), outputs["indexer"])
        (folder / "shards.json").write_text(machine["definition"])
    else:
        check(outputs["shards"] is None, "a state machine that nobody asked for")


def state_machine_is_sound(machine, indexer):
    """The steps lead from the start to an end, and each sends the indexer an event with the keys of its job."""
    steps, at = [], machine["StartAt"]
    while at:
        state = machine["States"][at]
        steps.append((at, state))
        at = state.get("Next")
    check([name for name, _ in steps] == ["Begin", "Shards", "Publish"], f"the steps are {steps}")
    check(len(machine["States"]) == len(steps), f"steps that nothing leads to: {list(machine['States'])}")
    begin, shards, publish = (state for _, state in steps)
    processor = shards["ItemProcessor"]
    check(processor["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "no distributed map")
    shard = processor["States"][processor["StartAt"]]
    check(shards["ResultPath"] is None and shards["ItemsPath"] == "$.begun.shards", "the map loses its input")
    source = {"source", "collection", "distance", "options"}
    expected = {"begin": source, "shard": source | {"generation", "shard"}, "publish": {"collection", "generation"}}
    for state, job in ((begin, "begin"), (shard, "shard"), (publish, "publish")):
        payload = state["Parameters"]["Payload"]
        keys = {key.removesuffix(".$") for key in payload} - {"job"}
        check(payload["job"] == job and keys == expected[job], f"{job} is sent {payload}")
        check(indexer in state["Parameters"]["FunctionName"] and state["Retry"], f"{job} is not sent to the indexer, or once")
    check(publish["End"] and shard["End"], "no end")


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cloud = Cloud()
    try:
        terraform = Terraform(folder / "root", cloud)
        terraform.configure(SCENARIOS["defaults"])
        if not terraform.init():
            sys.exit(77)
        # Terraform names all that is wrong at once, so one round takes one value of every variable.
        left = list(REFUSED)
        while left:
            bad = dict(left)
            left = [case for case in left if bad[case[0]] is not case[1]]
            terraform.configure({**SCENARIOS["defaults"], **bad})
            done = terraform.run("plan", "-refresh=false", "-input=false", "-no-color", expect=(1,))
            for variable, value in bad.items():
                check(f"var.{variable} is" in done.stderr, f"{variable} may be {value}: {done.stderr}")
        print(f"{len(REFUSED)} bad values are refused")
        for name, variables in SCENARIOS.items():
            terraform.configure(variables)
            terraform.run("apply", "-auto-approve", "-input=false", "-no-color")
            again = terraform.run("plan", "-detailed-exitcode", "-input=false", "-no-color", expect=(0, 2))
            check(again.returncode == 0, f"{name}: a second plan would change something:\n{again.stdout}")
            state = terraform.json("show", "-json")
            found = list(rules.faults(state))
            check(not found, f"{name}:\n  " + "\n  ".join(found))
            outputs = state["values"]["outputs"]["all"]["value"]
            described_as_asked(variables, outputs, cloud, folder)
            count = len(list(rules.resources(state)))
            if name == "everything":
                rules_can_fail(state)
            terraform.run("destroy", "-auto-approve", "-input=false", "-no-color")
            left = terraform.run("state", "list").stdout.strip()
            check(not left, f"{name}: left after destroy:\n{left}")
            print(f"{name}: {count} resources applied, planned without drift, within the rules, destroyed")
    finally:
        cloud.stop()


main()
