//! What a configuration file may hold: skupper-router 3.5's configuration entities.
//!
//! Source: upstream `python/skupper_router/management/skrouter.json`, the entities that extend
//! `configurationEntity`, in its order. `dummy` and `routerMetrics` are left out: nobody configures them.

use super::{Attribute, EntityType, boolean, configuration, integer, map, one_of, path, properties, text};

pub(super) const TYPES: &[EntityType] = &[
    super::ROUTER,
    configuration("network", NETWORK).singleton().operations_are(&["UPDATE"]),
    configuration("site", SITE),
    super::SSL_PROFILE,
    configuration("proxyProfile", PROXY_PROFILE).operations_are(&["CREATE", "UPDATE", "DELETE"]),
    super::LISTENER,
    super::CONNECTOR,
    super::TCP_LISTENER,
    super::TCP_CONNECTOR,
    configuration("listenerAddress", LISTENER_ADDRESS).operations_are(&["CREATE", "DELETE"]),
    configuration("log", LOG).operations_are(&["UPDATE"]),
    super::ADDRESS,
    configuration("router.config.autoLink", AUTO_LINK).operations_are(&["CREATE", "DELETE"]),
    configuration("policy", POLICY).singleton(),
    configuration("vhost", VHOST).operations_are(&["CREATE", "UPDATE", "DELETE"]),
];

pub(super) const ROUTER: &[Attribute] = &[
    text("id").create(),
    text("vanId").create(),
    one_of("mode", &["standalone", "interior", "edge"]).or("standalone").create(),
    text("area").or("0"),
    text("version"),
    text("hostName"),
    integer("helloIntervalSeconds").or_integer(1).create(),
    integer("helloMaxAgeSeconds").or_integer(3).create(),
    integer("raIntervalSeconds").or_integer(30).create(),
    integer("raIntervalFluxSeconds").or_integer(4).create(),
    integer("remoteLsMaxAgeSeconds").or_integer(60).create(),
    integer("unreachableHoldoffSeconds").or_integer(1).create(),
    integer("workerThreads").or_integer(4).create(),
    path("debugDumpFile").create(),
    path("saslConfigDir").create(),
    text("saslConfigName").or("skrouterd").create(),
    boolean("timestampsInUTC").create(),
    text("timestampFormat").create(),
    one_of("defaultDistribution", &["multicast", "closest", "balanced", "unavailable"])
        .or("balanced")
        .create(),
    text("metadata").create(),
    text("dataConnectionCount").or("auto").create(),
    boolean("dropTcpConnections").or_boolean(true).create(),
];

const NETWORK: &[Attribute] = &[text("networkId").create().update(), text("tenantId").create()];

const SITE: &[Attribute] = &[
    text("location").create(),
    text("provider").create(),
    text("version").create(),
    text("platform").create(),
    text("namespace").create(),
];

pub(super) const SSL_PROFILE: &[Attribute] = &[
    text("ciphers").create().update(),
    text("protocols").create().update(),
    path("caCertFile").create().update(),
    path("certFile").create().update(),
    path("privateKeyFile").create().update(),
    text("password").create().update(),
    text("uidFormat").create(),
    text("uidNameMappingFile").create(),
    integer("ordinal").create().update(),
    integer("oldestValidOrdinal").create().update(),
];

const PROXY_PROFILE: &[Attribute] = &[
    text("host").create().update(),
    text("port").create().update(),
    text("username").create().update(),
    text("password").hidden().create().update(),
];

pub(super) const LISTENER: &[Attribute] = &[
    text("host").or("").create(),
    text("port").or("amqp").create(),
    one_of("socketAddressFamily", &["IPv4", "IPv6"]).create(),
    one_of("role", &["normal", "inter-router", "route-container", "edge", "inter-edge", "inter-network"])
        .or("normal")
        .create(),
    integer("cost").or_integer(1).create(),
    text("sslProfile").create(),
    text("saslMechanisms").create(),
    boolean("authenticatePeer").or_boolean(false).create(),
    boolean("requireEncryption").or_boolean(false).create(),
    boolean("requireSsl").or_boolean(false).create(),
    integer("maxFrameSize").or_integer(16384).create(),
    integer("maxSessions").or_integer(32768).create(),
    integer("maxSessionFrames").create(),
    integer("idleTimeoutSeconds").or_integer(16).create(),
    integer("initialHandshakeTimeoutSeconds").or_integer(0).create(),
    one_of("stripAnnotations", &["in", "out", "both", "no"]).or("both").create(),
    integer("linkCapacity").create(),
    text("failoverUrls").create(),
    boolean("healthz").or_boolean(true).create(),
    boolean("metrics").or_boolean(true).create(),
    boolean("websockets").or_boolean(true).create(),
    boolean("http").or_boolean(false).create(),
    path("httpRootDir").create(),
    text("messageLoggingComponents").or("none").create(),
    text("policyVhost").create(),
    properties("openProperties").create(),
];

pub(super) const CONNECTOR: &[Attribute] = &[
    text("host").or("127.0.0.1").create(),
    text("port").or("amqp").create(),
    one_of("socketAddressFamily", &["IPv4", "IPv6"]).create(),
    one_of("role", &["normal", "inter-router", "route-container", "edge", "inter-edge", "inter-network"])
        .or("normal")
        .create(),
    integer("cost").or_integer(1).create(),
    text("sslProfile").create(),
    text("proxyProfile").create(),
    text("saslMechanisms").create(),
    boolean("allowRedirect").or_boolean(true).create(),
    integer("maxFrameSize").or_integer(16384).create(),
    integer("maxSessions").or_integer(32768).create(),
    integer("maxSessionFrames").create(),
    integer("idleTimeoutSeconds").or_integer(16).create(),
    one_of("stripAnnotations", &["in", "out", "both", "no"]).or("both").create(),
    integer("linkCapacity").create(),
    boolean("verifyHostname").or_boolean(true).create(),
    text("saslUsername").create(),
    text("saslPassword").hidden().create(),
    text("messageLoggingComponents").or("none").create(),
    text("failoverUrls"),
    text("connectionStatus"),
    text("connectionMsg"),
    text("policyVhost").create(),
    properties("openProperties").create(),
];

pub(super) const TCP_LISTENER: &[Attribute] = &[
    text("address").create(),
    text("host").or("").create(),
    integer("backlog").or_integer(0).create(),
    text("port").create(),
    one_of("multiAddressStrategy", &["none", "priority", "weighted"]).or("none").create(),
    text("siteId").create(),
    integer("connectionsOpened"),
    integer("connectionsClosed"),
    integer("bytesIn"),
    integer("bytesOut"),
    text("sslProfile").create(),
    boolean("authenticatePeer").or_boolean(false).create(),
    one_of("operStatus", &["up", "down"]),
    text("connectionMsg"),
    one_of("observer", &["none", "auto", "http1", "http2"]).or("auto").create().update(),
];

pub(super) const TCP_CONNECTOR: &[Attribute] = &[
    text("address").create(),
    text("host").or("127.0.0.1").create(),
    text("port").create(),
    text("siteId").create(),
    text("processId").create(),
    integer("connectionsOpened"),
    integer("connectionsClosed"),
    integer("bytesIn"),
    integer("bytesOut"),
    text("sslProfile").create(),
    boolean("verifyHostname").or_boolean(true).create(),
];

const LISTENER_ADDRESS: &[Attribute] = &[
    text("address").required().create(),
    integer("value").required().create(),
    text("listener").required().create(),
    integer("connectionsOpened"),
];

const LOG: &[Attribute] = &[
    one_of(
        "module",
        &[
            "ROUTER",
            "ROUTER_CORE",
            "ROUTER_HELLO",
            "ROUTER_LS",
            "ROUTER_MA",
            "MESSAGE",
            "SERVER",
            "AGENT",
            "CONTAINER",
            "ERROR",
            "POLICY",
            "HTTP",
            "CONN_MGR",
            "PYTHON",
            "PROTOCOL",
            "TCP_ADAPTOR",
            "HTTP_ADAPTOR",
            "FLOW_LOG",
            "ADDRESS_WATCH",
            "HTTP1_OBSERVER",
            "HTTP2_OBSERVER",
            "HTTP2_DECODER",
            "DEFAULT",
        ],
    )
    .required(),
    text("enable").update(),
    boolean("includeTimestamp").update(),
    boolean("includeSource").update(),
    text("outputFile").update(),
];

pub(super) const ADDRESS: &[Attribute] = &[
    text("prefix").create(),
    text("pattern").create(),
    one_of("distribution", &["multicast", "closest", "balanced", "unavailable"]).or("balanced").create(),
    integer("priority").create(),
];

const AUTO_LINK: &[Attribute] = &[
    text("address").create(),
    one_of("direction", &["in", "out"]).required().create(),
    text("containerId").create(),
    text("connection").create(),
    text("externalAddress").create(),
    text("linkRef"),
    one_of("operStatus", &["inactive", "attaching", "failed", "active", "quiescing", "idle"]),
    text("lastError"),
];

const POLICY: &[Attribute] = &[
    integer("maxConnections").or_integer(65535).create(),
    integer("maxMessageSize").or_integer(0).create(),
    boolean("enableVhostPolicy").or_boolean(false).create(),
    boolean("enableVhostNamePatterns").or_boolean(false).create(),
    path("policyDir").or("").create(),
    text("defaultVhost").or("$default").create(),
    integer("connectionsProcessed"),
    integer("connectionsDenied"),
    integer("connectionsCurrent"),
    integer("linksDenied"),
    integer("maxMessageSizeDenied"),
    integer("totalDenials"),
];

const VHOST: &[Attribute] = &[
    text("hostname").required().create(),
    text("aliases").create().update(),
    integer("maxConnections").or_integer(65535).create().update(),
    integer("maxMessageSize"),
    integer("maxConnectionsPerUser").or_integer(65535).create().update(),
    integer("maxConnectionsPerHost").or_integer(65535).create().update(),
    boolean("allowUnknownUser").or_boolean(false).create().update(),
    map("groups").create().update(),
];
