// The key-value namespace: as many blocked hosts as the other peers have rules,
// in memory, behind the protocol that workerd's bindings speak.
let rules;

export default {
  async fetch(request, env) {
    if (!rules) {
      rules = new Set();
      for (let i = 0; i < Number(env.COUNT); i++) rules.add(`host:blocked-${i}.example.net`);
    }
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    return rules.has(name) ? new Response("block") : new Response(null, { status: 404 });
  },
};
