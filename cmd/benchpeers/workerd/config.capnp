using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "rules", worker = .rules),
    (name = "sink", external = (address = "SINK_ADDRESS", http = ())),
  ],
  sockets = [(name = "http", address = "127.0.0.1:PORT", http = (), service = "main")],
);

const main :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "2026-01-01",
  bindings = [
    (name = "RULES", kvNamespace = "rules"),
    (name = "SINK", service = "sink"),
    (name = "SECRET", text = "LINK_SECRET"),
  ],
);

const rules :Workerd.Worker = (
  modules = [(name = "rules.js", esModule = embed "rules.js")],
  compatibilityDate = "2026-01-01",
  bindings = [(name = "COUNT", text = "RULES_COUNT")],
);
