// CouchDB's protocol over LevelDB, as PouchDB's own server does it. Prints its port.
const [folder] = process.argv.slice(2);
const PouchDB = require("pouchdb").defaults({ prefix: folder + "/" });
const app = require("express")();
const options = { mode: "minimumForPouchDB", logPath: folder + "/log.txt", inMemoryConfig: true };
app.use("/", require("express-pouchdb")(PouchDB, options));
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
