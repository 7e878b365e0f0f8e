// One step of a PouchDB node against the server at `url`: `push` or `pull`, which are measured, or `fill`.
const fs = require("fs");
const [step, folder, url, data] = process.argv.slice(2);
const PouchDB = require("pouchdb").defaults({ prefix: folder + "/" });
PouchDB.on("error", () => {});

async function main() {
  const remote = new PouchDB(url);
  if (step === "pull") {
    const fresh = new PouchDB("pull-" + process.pid);
    return timed(() => fresh.replicate.from(remote, { batch_size: 1000 }));
  }
  if (step === "fill") return timed(() => fill(remote, JSON.parse(fs.readFileSync(data))));
  const local = new PouchDB("push");
  await local.bulkDocs(JSON.parse(fs.readFileSync(data)));
  return timed(() => local.replicate.to(remote, { batch_size: 1000 }));
}

async function fill(remote, docs) {
  for (let at = 0; at < docs.length; at += 1000) await remote.bulkDocs(docs.slice(at, at + 1000));
  return { docs_written: docs.length };
}

async function timed(work) {
  const began = process.hrtime.bigint();
  const done = await work();
  const took_s = Number(process.hrtime.bigint() - began) / 1e9;
  console.log(JSON.stringify({ took_s, written: done.docs_written }));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
