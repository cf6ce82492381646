"""What must hold of everything that Terraform would make, read from `terraform show -json`."""

import json

# The only actions that AWS gives no resources to: https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html
WITHOUT_RESOURCES = {
    "logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups",
}
# What each role may do, whatever the options; a role that is not here is a new one, which somebody has to think about.
WRITES = {"s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"}
READS = {"s3:ListBucket", "s3:GetObject", "logs:CreateLogStream", "logs:PutLogEvents", "kms:Decrypt"}
ALLOWED = {
    "searcher": READS | WRITES | {"kms:GenerateDataKey", "lambda:InvokeFunctionUrl", "lambda:InvokeFunction"},
    "leaf": READS,
    "indexer": READS | WRITES | {"kms:GenerateDataKey"},
    "shards": WITHOUT_RESOURCES
    | {"lambda:InvokeFunction", "states:StartExecution", "states:DescribeExecution", "states:StopExecution"},
}


def resources(state):
    """All managed resources of a shown state or plan, as (type, name, values)."""
    values = state.get("values") or state["planned_values"]
    modules = [values["root_module"]]
    while modules:
        module = modules.pop()
        modules.extend(module.get("child_modules", []))
        for resource in module.get("resources", []):
            if resource["mode"] == "managed":
                yield resource["type"], resource["name"], resource["values"]


def as_list(value):
    return value if isinstance(value, list) else [value]


def policy_faults(name, policy, allowed):
    """What is too much in an identity policy."""
    for statement in json.loads(policy)["Statement"]:
        actions, targets = as_list(statement["Action"]), as_list(statement.get("Resource", []))
        if "NotAction" in statement or "NotResource" in statement or statement["Effect"] != "Allow":
            yield f"{name}: a statement that is no plain permission: {statement}"
        for action in actions:
            if "*" in action:
                yield f"{name}: the action {action} is a wildcard"
            elif action not in allowed:
                yield f"{name}: the action {action} is not among what this role needs"
        for target in targets:
            # A wildcard may stand for the objects of a prefix, the streams of a log group, the executions of a state machine.
            bare = target.removesuffix("/*").removesuffix(":*")
            if target == "*" and set(actions) <= WITHOUT_RESOURCES:
                continue
            if "*" in bare or len(bare.split(":")) < 6:
                yield f"{name}: the resource {target} is too wide for {', '.join(actions)}"
            if bare.startswith("arn:aws:s3:::") and "s3:PutObject" in actions and "/" not in bare.removeprefix("arn:aws:s3:::"):
                yield f"{name}: writes to a whole bucket: {target}"
        if "s3:ListBucket" in actions and "StringLike\"" in json.dumps(statement.get("Condition", {})):
            yield f"{name}: a GET of an object that is not there would be 403: see roles.tf"
        if "s3:ListBucket" in actions and "Condition" not in statement and statement.get("Sid") != "ListSources":
            yield f"{name}: lists the whole bucket"


def faults(state):
    """Everything that is wrong, as text."""
    found = list(resources(state))
    kinds = {}
    for kind, name, values in found:
        kinds.setdefault(kind, []).append((name, values))
    def of(kind):
        return kinds.get(kind, [])

    for name, values in of("aws_iam_role_policy"):
        if name not in ALLOWED:
            yield f"the role {name} is not known to the rules"
        else:
            yield from policy_faults(name, values["policy"], ALLOWED[name])
    for kind in ("aws_iam_role_policy_attachment", "aws_iam_policy_attachment"):
        for name, _ in of(kind):
            yield f"{kind} {name}: roles have policies of their own here"
    for name, values in of("aws_iam_role"):
        for statement in json.loads(values["assume_role_policy"])["Statement"]:
            if "Condition" not in statement or list(statement["Principal"]) != ["Service"]:
                yield f"role {name}: may be assumed by more than this account's services"

    if len(of("aws_s3_bucket")) != 1:
        yield "not exactly one bucket"
    for _, values in of("aws_s3_bucket_public_access_block"):
        for key in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"):
            if values[key] is not True:
                yield f"the bucket: {key} is off"
    for kind in (
        "aws_s3_bucket_public_access_block", "aws_s3_bucket_server_side_encryption_configuration",
        "aws_s3_bucket_lifecycle_configuration", "aws_s3_bucket_versioning", "aws_s3_bucket_ownership_controls",
        "aws_s3_bucket_policy",
    ):
        if len(of(kind)) != 1:
            yield f"the bucket has no {kind}"
    for _, values in of("aws_s3_bucket_server_side_encryption_configuration"):
        algorithms = [rule["apply_server_side_encryption_by_default"][0]["sse_algorithm"] for rule in values["rule"]]
        if not algorithms or any(algorithm not in ("AES256", "aws:kms") for algorithm in algorithms):
            yield f"the bucket is not encrypted: {algorithms}"
    for _, values in of("aws_s3_bucket_lifecycle_configuration"):
        if not any(rule.get("abort_incomplete_multipart_upload") for rule in values["rule"]):
            yield "unfinished uploads are never aborted"
        for rule in values["rule"]:
            if any(expiration.get("days") or expiration.get("date") for expiration in rule.get("expiration") or []):
                yield f"the rule {rule['id']} deletes current objects: only Cairn knows which are garbage"

    logs = {values["name"]: values for _, values in of("aws_cloudwatch_log_group")}
    for name, values in logs.items():
        if not values.get("retention_in_days"):
            yield f"logs of {name} are kept for ever"
    functions = [values for _, values in of("aws_lambda_function")]
    for values in functions:
        if f"/aws/lambda/{values['function_name']}" not in logs:
            yield f"{values['function_name']} would make its own log group, which keeps its logs for ever"
        if values["runtime"] != "provided.al2023" or values["architectures"] not in (["arm64"], ["x86_64"]):
            yield f"{values['function_name']}: {values['runtime']} on {values['architectures']}"
    urls = dict((name, values) for name, values in of("aws_lambda_function_url"))
    for name, values in of("aws_lambda_function_url"):
        if values["authorization_type"] == "NONE" and not keyed(functions, values["function_name"]):
            yield f"the URL of {values['function_name']} is open, and its function asks for no key"
        if name == "leaf" and values["authorization_type"] != "AWS_IAM":
            yield "a leaf's URL is open"
    for name, values in of("aws_lambda_permission"):
        if values["principal"] == "*" and not keyed(functions, values["function_name"]):
            yield f"permission {name}: everybody may invoke {values['function_name']}, which asks for no key"
        if values["principal"].endswith(".amazonaws.com") and not values.get("source_arn"):
            yield f"permission {name}: any {values['principal']} may invoke, whoever's it is"
    if not urls:
        yield "nothing has a URL"


def keyed(functions, name):
    """Whether a function asks for a key."""
    for values in functions:
        if values["function_name"] == name:
            return any("CAIRN_API_KEY" in environment["variables"] for environment in values["environment"])
    return False
