"""A cloud for Terraform on this machine (moto), and a root module that points there."""

import json
import logging
import os
import pathlib
import subprocess
import sys
import zipfile

from moto.server import ThreadedMotoServer
from moto.stepfunctions.responses import StepFunctionResponse

ROOT = pathlib.Path(__file__).resolve().parents[2]
SERVICES = ["cloudwatch", "events", "iam", "kms", "lambda", "logs", "s3", "sfn", "sns", "sts"]


class Cloud:
    """moto's server, in this process on a free port of 127.0.0.1."""

    def __init__(self):
        # What the provider asks of Step Functions and moto does not have. Whether the definition is sound is checked elsewhere;
        # there are no versions.
        def validate_state_machine_definition(_):
            return json.dumps({"result": "OK", "diagnostics": [], "truncated": False})

        def list_state_machine_versions(_):
            return json.dumps({"stateMachineVersions": []})

        for answer in (validate_state_machine_definition, list_state_machine_versions):
            setattr(StepFunctionResponse, answer.__name__, answer)
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.url = f"http://{host}:{port}"

    def stop(self):
        self.server.stop()


class Terraform:
    """One root module over infra/, in a folder of its own."""

    def __init__(self, folder, cloud):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.zips = {}
        for name in ("searcher", "indexer"):
            self.zips[name] = folder / f"{name}.zip"
            with zipfile.ZipFile(self.zips[name], "w") as file:
                file.writestr("bootstrap", f"stands for the {name}")
        self.cloud = cloud

    def configure(self, variables):
        """Writes the root module: the provider, the module with its variables, its outputs."""
        endpoints = {service: self.cloud.url for service in SERVICES}
        provider = {
            "region": "eu-central-1",
            "access_key": "test",
            "secret_key": "test",
            "skip_credentials_validation": True,
            "skip_metadata_api_check": True,
            "s3_use_path_style": True,
            # What moto does not know will not be known the next time: fail at once.
            "max_retries": 2,
            "endpoints": [endpoints],
        }
        module = {
            "source": os.path.relpath(ROOT / "infra", self.folder),
            "searcher_zip": str(self.zips["searcher"]),
            "indexer_zip": str(self.zips["indexer"]),
            **variables,
        }
        root = {
            "provider": {"aws": provider},
            "module": {"cairn": module},
            "output": {"all": {"value": "${module.cairn}", "sensitive": True}},
        }
        (self.folder / "main.tf.json").write_text(json.dumps(root, indent=2))

    def run(self, *arguments, expect=(0,)):
        command = ["terraform", f"-chdir={self.folder}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_IN_AUTOMATION": "1"})
        if done.returncode not in expect:
            sys.exit(f"{' '.join(command)}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def init(self):
        """False when there is neither a registry nor a mirror with the provider."""
        done = self.run("init", "-input=false", "-no-color", expect=(0, 1))
        if done.returncode == 0:
            return True
        text = done.stdout + done.stderr
        unreachable = ("could not connect to", "Could not retrieve the list of available versions", "registry.terraform.io")
        if any(sign in text for sign in unreachable):
            return False
        sys.exit(text)

    def json(self, *arguments):
        return json.loads(self.run(*arguments).stdout)
