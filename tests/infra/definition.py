"""Holds a state machine's definition against the grammar of Amazon's States Language, as LocalStack has it.

usage: definition.py FILE      with the Python that LocalStack is installed in
"""

import json
import pathlib
import sys

from localstack.services.stepfunctions.asl.static_analyser.static_analyser import StaticAnalyser


def is_sound(definition):
    try:
        StaticAnalyser().analyse(definition)
    except Exception as error:  # Each kind of fault is an exception of its own.
        return str(error) or type(error).__name__
    return None


definition = json.loads(pathlib.Path(sys.argv[1]).read_text())
fault = is_sound(json.dumps(definition))
if fault:
    sys.exit(f"definition.py: {fault}")
for damage in ({"Type": "Pazs"}, {"Type": "Map"}):
    damaged = {**definition, "States": {**definition["States"], "Publish": damage}}
    if not is_sound(json.dumps(damaged)):
        sys.exit(f"definition.py: the grammar takes {damage}")
print(f"the state machine is sound: {', '.join(definition['States'])}")
