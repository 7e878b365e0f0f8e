// What a shop's web page would do with supabase-js, against a server that listens at argv[2], as the
// people of argv[3] (JSON: owner, member, guest and totp, each with email and password). Records made
// have ids that begin with argv[4].
// Prints one JSON line per story: {"story", "ok", "error"}.
"use strict";
const assert = require("node:assert/strict");
const { createClient } = require("@supabase/supabase-js");

const url = process.argv[2];
const people = JSON.parse(process.argv[3]);
const run = process.argv[4]; // begins the ids of this run: what another left may be there
const auth = { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false };
const client = () => createClient(url, "anonymous", { auth });

async function signedIn(who) {
  const supabase = client();
  const { error } = await supabase.auth.signInWithPassword(people[who]);
  assert.equal(error, null);
  return supabase;
}

function good({ data, error, ...rest }) {
  assert.equal(error, null, error && JSON.stringify(error));
  return { data, ...rest };
}

function within(promise, what) {
  return Promise.race([
    promise,
    new Promise((_, fail) => setTimeout(() => fail(new Error(`${what}: not in time`)), 8000)),
  ]);
}

function subscribed(channel) {
  return within(
    new Promise((done, fail) => {
      channel.subscribe((status, error) => {
        if (status === "SUBSCRIBED") done(channel);
        if (status === "CHANNEL_ERROR") fail(error || new Error(status));
      });
    }),
    "subscribing",
  );
}

const stories = {
  async "nobody gets nothing"() {
    const { data, error, status } = await client().from("products").select();
    assert.equal(data, null);
    assert.equal(status, 401);
    assert.ok(error.hint);
  },

  async "signing in, who am I, refreshing, signing out"() {
    const supabase = client();
    const wrong = await supabase.auth.signInWithPassword({ ...people.member, password: "not so" });
    assert.equal(wrong.error.code, "auth.wrong");
    const { data } = good(await supabase.auth.signInWithPassword(people.member));
    assert.equal(data.user.email, people.member.email);
    assert.equal(data.user.app_metadata.role, "member");
    assert.equal(good(await supabase.auth.getUser()).data.user.id, data.user.id);
    assert.ok(good(await supabase.auth.refreshSession()).data.session.access_token);
    assert.equal((await supabase.auth.signOut()).error, null);
    assert.equal((await supabase.auth.getSession()).data.session, null);
  },

  async "a second factor rides where captchas do"() {
    const { code, ...credentials } = people.totp;
    const without = await client().auth.signInWithPassword(credentials);
    assert.equal(without.error.code, "auth.totp_needed");
    const options = { captchaToken: code };
    good(await client().auth.signInWithPassword({ ...credentials, options }));
  },

  async "insert, upsert, update, delete"() {
    const supabase = await signedIn("owner");
    const table = () => supabase.from("products");
    const one = good(await table().insert({ id: `${run}-js1`, name: "Pão", price: 2 }).select().single());
    assert.equal(one.data.name, "Pão");
    const twice = await table().insert({ id: `${run}-js1`, name: "x" });
    assert.equal(twice.error.code, "record.exists");
    assert.equal(twice.status, 409);
    const rows = [{ id: `${run}-js1`, name: "Pão", price: 3 }, { id: `${run}-js2`, name: "Leite" }];
    assert.equal(good(await table().upsert(rows).select()).data.length, 2);
    const some = [{ id: `${run}-js1`, name: "x" }, { id: `${run}-js3`, name: "Sal", price: 1 }];
    good(await table().upsert(some, { ignoreDuplicates: true }));
    const changed = good(await table().update({ stock: 7 }).in("id", [`${run}-js1`, `${run}-js2`]).select("id,stock"));
    assert.deepEqual(changed.data.map((row) => row.stock), [7, 7]);
    assert.equal(good(await table().select("name").eq("id", `${run}-js1`).single()).data.name, "Pão");
    assert.equal((await table().update({ stock: 1 }).neq("id", "").maxAffected(1)).status, 400);
    assert.equal(good(await table().delete({ count: "exact" }).eq("id", `${run}-js3`)).count, 1);
    assert.equal(good(await table().select().eq("id", `${run}-js3`).maybeSingle()).data, null);
    assert.equal((await table().select().single()).error.code, "PGRST116");
  },

  async "filters, order, pages, counts, aggregates"() {
    const supabase = await signedIn("owner");
    const table = () => supabase.from("products");
    good(
      await table().upsert(
        ["a", "b", "c", "d"].map((id, n) => ({
          id: `${run}-${id}`, name: `item ${id}, (${n})`, price: n, note: n ? `n${n}` : null,
        })),
      ),
    );
    const mine = (query) => query.like("id", `${run}-_`);
    const ids = ({ data }) => data.map((row) => row.id.slice(-1)).join(" ");
    const select = (columns = "id", options) => mine(table().select(columns, options)).order("id");
    assert.equal(ids(good(await select().gt("price", 1))), "c d");
    assert.equal(ids(good(await select().gte("price", 1).lt("price", 3))), "b c");
    assert.equal(ids(good(await select().is("note", null))), "a");
    assert.equal(ids(good(await select().not("note", "is", null))), "b c d");
    assert.equal(ids(good(await select().in("name", ["item b, (1)"]))), "b");
    assert.equal(ids(good(await select().or("price.eq.0,and(price.gt.2,active.is.true)"))), "a d");
    assert.equal(ids(good(await select().ilike("name", "%ITEM%").match({ price: 2 }))), "c");
    assert.equal(ids(good(await select().likeAnyOf("id", ["%-a", "%-d"]))), "a d");
    assert.equal(ids(good(await select().isDistinct("note", "n1"))), "a c d");
    const page = good(
      await mine(table().select("id", { count: "exact" }))
        .order("price", { ascending: false, nullsFirst: false })
        .range(1, 2),
    );
    assert.equal(ids(page), "c b");
    assert.equal(page.count, 4);
    assert.equal(page.status, 206);
    const head = good(await mine(table().select("*", { count: "exact", head: true })));
    assert.equal(head.count, 4);
    const sums = good(await mine(table().select("total:price.sum(),count()")).single());
    assert.deepEqual(sums.data, { total: 6, count: 4 });
    assert.match(good(await select("id,price").limit(1).csv()).data, /^id,price\n.*-a,0/);
    assert.ok(!("note" in good(await mine(table().select()).eq("price", 0).single().stripNulls()).data));
    assert.equal((await table().select("*,sites(*)")).error.code, "dialect.unsupported");
    assert.equal((await table().select().textSearch("name", "x")).error.code, "dialect.unsupported");
    assert.equal((await table().select("nothing")).error.code, "column.unknown");
  },

  async "commands"() {
    const supabase = await signedIn("owner");
    const sale = good(await supabase.rpc("sell", { product: "p", amount: 2.5 })).data;
    assert.equal(sale.amount, 2.5);
    const refused = await supabase.rpc("sell", { product: "p", amount: 0 });
    assert.equal(refused.error.code, "sale.empty");
    assert.equal(refused.error.hint, "Say the amount.");
    assert.equal((await supabase.rpc("none")).status, 404);
  },

  async "changes arrive"() {
    const supabase = await signedIn("owner");
    const heard = [];
    let wake = () => {};
    const hear = (payload) => {
      if ((payload.new.id ?? payload.old.id) !== `${run}-live`) return; // filters let deletions by
      heard.push(payload);
      wake();
    };
    // A change is told with the row as it is by then, so each waits until the one before was heard.
    const told = async (count) => {
      while (heard.length < count) {
        await within(new Promise((resolve) => (wake = resolve)), `change ${count}`);
      }
    };
    const filter = `id=eq.${run}-live`;
    const channel = supabase.channel("live").on(
      "postgres_changes", { event: "*", schema: "public", table: "products", filter }, hear,
    );
    await subscribed(channel);
    const table = () => supabase.from("products");
    good(await table().insert({ id: `${run}-quiet`, name: "not wanted" }));
    good(await table().insert({ id: `${run}-live`, name: "Café", price: 1 }));
    await told(1);
    good(await table().update({ price: 2 }).eq("id", `${run}-live`));
    await told(2);
    good(await table().delete().eq("id", `${run}-live`));
    await told(3);
    assert.deepEqual(heard.map((c) => c.eventType), ["INSERT", "UPDATE", "DELETE"]);
    assert.equal(heard[0].new.name, "Café");
    assert.equal(heard[1].new.price, 2);
    assert.equal(heard[2].old.id, `${run}-live`);
    await supabase.removeChannel(channel);
  },

  async "broadcast and presence"() {
    const [ana, bia] = [await signedIn("owner"), await signedIn("member")];
    const hers = bia.channel("room", { config: { presence: { key: "bia" } } });
    const said = new Promise((done) => hers.on("broadcast", { event: "cursor" }, done));
    const joined = new Promise((done) =>
      hers.on("presence", { event: "join" }, ({ key }) => key === "ana" && done()),
    );
    await subscribed(hers);
    const mine = ana.channel("room", {
      config: { presence: { key: "ana" }, broadcast: { ack: true } },
    });
    await subscribed(mine);
    assert.equal(await mine.send({ type: "broadcast", event: "cursor", payload: { x: 'é"1' } }), "ok");
    assert.deepEqual((await within(said, "broadcast")).payload, { x: 'é"1' });
    assert.equal(await mine.track({ page: "home" }), "ok");
    await within(joined, "presence");
    assert.equal(hers.presenceState().ana[0].page, "home");
    await ana.removeAllChannels();
    await bia.removeAllChannels();
  },

  async "a channel of what one may not see is refused"() {
    const supabase = await signedIn("guest");
    const channel = supabase.channel("no").on(
      "postgres_changes", { event: "*", schema: "public", table: "notes" }, () => {},
    );
    await assert.rejects(subscribed(channel), /may not read notes/);
    await supabase.removeAllChannels();
  },
};

(async () => {
  for (const [story, run] of Object.entries(stories)) {
    let error = null;
    try {
      await run();
    } catch (failure) {
      error = String((failure && failure.stack) || failure);
    }
    console.log(JSON.stringify({ story, ok: error === null, error }));
  }
  process.exit(0);
})();
