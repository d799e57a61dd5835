"""Makes the vectors of a file (default: linkcore/testdata/signer-vectors.json)
again, and says which differ."""

import json
import pathlib
import sys
from datetime import datetime, timedelta, timezone

here = pathlib.Path(__file__).resolve()
sys.path.insert(0, str(here.parents[1]))

from linktracker_signer import FieldError, Signer, decode_secret  # noqa: E402

path = sys.argv[1] if len(sys.argv) > 1 else here.parents[3] / "testdata/signer-vectors.json"
vectors = json.loads(pathlib.Path(path).read_text("utf-8"))
failed = 0
lacking = {}


def check(vector, want, make):
    global failed
    try:
        got = make()
    except FieldError as e:
        got = {"refused": e.field}
    except ImportError as e:
        lacking[str(e)] = lacking.get(str(e), 0) + 1
        return
    if got != want:
        failed += 1
        print(json.dumps(vector), "\n got", json.dumps(got))


def fields(given=None):
    given = dict(given or {})
    if "sent" in given:
        given["sent"] = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=given["sent"])
    return given


def source(random):
    def take(n):
        nonlocal random
        taken, random = random[:n], random[n:]
        return taken

    return take


def link(v):
    signer = Signer(vectors["keys"], v["base_url"], v.get("key"))
    signer._random = source(bytes.fromhex(v.get("random_hex", "")))
    options = {**fields(v.get("fields")), "sealed": v.get("sealed", False), "exact_link": v.get("exact_link", False),
               "metadata": v.get("metadata"), "form": v.get("form", "path"), "label": v.get("label", "")}
    made = signer.click(v.get("destination", ""), **options) if v["kind"] == "click" else getattr(signer, v["kind"])(**options)
    return {"url": made.url, "link": made.link, "warnings": list(made.warnings)}


for v in vectors["secrets"]:
    check(v, {"refused": "secret"} if v.get("refused") else {"hex": v["secret_hex"]}, lambda: {"hex": decode_secret(v["content"]).hex()})
for v in vectors["links"]:
    check(v, {"refused": v["refused"]} if "refused" in v else {"url": v["url"], "link": v["link"], "warnings": v.get("warnings", [])}, lambda: link(v))
for v in vectors["return_paths"]:
    check(v, {"refused": v["refused"]} if "refused" in v else {"address": v["address"]},
          lambda: {"address": Signer(vectors["keys"], "https://links.example.com", v.get("key")).return_path(v["mailbox"], **fields(v.get("fields")))})

for problem, n in lacking.items():
    print(f"{n} not made: {problem}")
print(f"{len(vectors['secrets'])} secrets, {len(vectors['links'])} links, {len(vectors['return_paths'])} return paths: {failed} differ")
sys.exit(1 if failed else 0)
