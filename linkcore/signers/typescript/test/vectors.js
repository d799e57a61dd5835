// Makes the vectors of a file (default: linkcore/testdata/signer-vectors.json)
// again, and says which differ.

import { readFileSync } from "node:fs";
import { FieldError, Signer, decodeSecret } from "../index.js";

const vectors = JSON.parse(readFileSync(process.argv[2] ?? new URL("../../../testdata/signer-vectors.json", import.meta.url), "utf8"));
let failed = 0;

function check(vector, want, make) {
  let got;
  try {
    got = make();
  } catch (e) {
    if (!(e instanceof FieldError)) throw e;
    got = { refused: e.field };
  }
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    failed++;
    console.log(`${JSON.stringify(vector)}\n got ${JSON.stringify(got)}`);
  }
}

const fields = ({ sent, ...rest } = {}) => ({ ...rest, sent: sent === undefined ? undefined : new Date(sent * 1000) });

for (const v of vectors.secrets)
  check(v, v.refused ? { refused: "secret" } : { hex: v.secret_hex }, () => ({ hex: Buffer.from(decodeSecret(v.content)).toString("hex") }));

for (const v of vectors.links)
  check(v, v.refused ? { refused: v.refused } : { url: v.url, link: v.link, warnings: v.warnings ?? [] }, () => {
    const signer = new Signer(vectors.keys, v.base_url, v.key);
    let random = Buffer.from(v.random_hex ?? "", "hex");
    signer._random = (n) => {
      const taken = random.subarray(0, n);
      random = random.subarray(n);
      return taken;
    };
    const options = { ...fields(v.fields), sealed: v.sealed, exactLink: v.exact_link, metadata: v.metadata, form: v.form, label: v.label };
    return v.kind === "click" ? signer.click(v.destination ?? "", options) : signer[v.kind](options);
  });

for (const v of vectors.return_paths)
  check(v, v.refused ? { refused: v.refused } : { address: v.address }, () => ({
    address: new Signer(vectors.keys, "https://links.example.com", v.key).returnPath(v.mailbox, fields(v.fields)),
  }));

console.log(`${vectors.secrets.length} secrets, ${vectors.links.length} links, ${vectors.return_paths.length} return paths: ${failed} differ`);
process.exit(failed ? 1 : 0);
