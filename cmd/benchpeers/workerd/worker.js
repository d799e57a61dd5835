// The endpoint's job as a Cloudflare Worker: it checks a tracked link of the
// clear path form, asks a key-value namespace whether the destination's host is
// blocked, redirects, and posts the event after the response.
const encoder = new TextEncoder();
let key;

async function signingKey(env) {
  const secret = Uint8Array.from(atob(env.SECRET), (c) => c.charCodeAt(0));
  const material = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveKey"]);
  return crypto.subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info: encoder.encode("linkcore/v1 sign") },
    material,
    { name: "HMAC", hash: "SHA-256", length: 256 },
    false,
    ["sign"],
  );
}

export default {
  async fetch(request, env, ctx) {
    const received = Date.now();
    const url = request.url;
    const start = url.indexOf("/", url.indexOf("://") + 3);
    const slash = url.indexOf("/", start + 1);
    const token = url.slice(start + 1, slash);
    const parts = token.split(".");
    if (slash < 0 || parts.length !== 7) return new Response("not found", { status: 404 });
    const destination = decodeURIComponent(url.slice(slash + 1));
    const host = new URL(url).hostname;
    const tag = parts.pop();
    key ??= await signingKey(env);
    const message = encoder.encode(`linkcore/v1\n${host}\n${parts.join(".")}\n${destination}`);
    const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, message), 0, 16);
    const given = Uint8Array.from(atob(tag.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    if (given.length !== 16 || !crypto.subtle.timingSafeEqual(mac, given)) {
      return new Response("not found", { status: 404 });
    }
    if (await env.RULES.get("host:" + new URL(destination).hostname)) {
      return new Response("gone", { status: 410 });
    }
    const [kind, customer, campaign, recipient, link] = parts;
    ctx.waitUntil(env.SINK.fetch("http://sink/events", {
      method: "POST",
      body: JSON.stringify({
        event_id: crypto.randomUUID(), event_type: "click", occurred_at: new Date(received).toISOString(),
        key_id: kind.slice(1), host, customer, campaign, recipient, link, destination,
        method: request.method, user_agent: request.headers.get("User-Agent"),
      }),
    }).then((response) => response.arrayBuffer()));
    return new Response(null, {
      status: 302,
      headers: {
        Location: destination, "Cache-Control": "private, no-store", "X-Robots-Tag": "noindex, nofollow",
        "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
      },
    });
  },
};
