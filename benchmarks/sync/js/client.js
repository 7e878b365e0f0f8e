// One measured step of a PouchDB node: `push`, `pull` or `update` against the server at `url`.
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
  const local = new PouchDB("push");
  await local.bulkDocs(JSON.parse(fs.readFileSync(data)));
  return timed(() => local.replicate.to(remote, { batch_size: 1000 }));
}

async function timed(work) {
  const began = process.hrtime.bigint();
  const done = await work();
  const took_s = Number(process.hrtime.bigint() - began) / 1e9;
  console.log(JSON.stringify({ took_s, written: done.docs_written }));
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1); });
