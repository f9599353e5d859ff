package config

// The sections here load, are checked for form, and are not acted on by this
// release; Load says so once for each.

// WebServices are the site's own web services.
type WebServices struct {
	Enabled           bool         `yaml:"enabled" doc:"whether the web services are deployed"`
	SharedConfigPath  string       `yaml:"shared_config_path" doc:"directory of the services' shared configuration"`
	FrontendBuildPath string       `yaml:"frontend_build_path" doc:"directory of the built front ends, on the shared storage"`
	Services          []WebService `yaml:"services" doc:"the services"`
	LoadBalancer      Section      `yaml:"load_balancer" doc:"HAProxy behind the virtual address"`
	Autoscale         Autoscale    `yaml:"autoscale" doc:"web servers that come and go with the load"`
}

// WebService is one backend or front end.
type WebService struct {
	Name        string `yaml:"name" doc:"name of the service"`
	Port        int    `yaml:"port" doc:"port it listens on" min:"1" max:"65535"`
	Type        string `yaml:"type" doc:"kind of service" enum:"backend|frontend"`
	HealthCheck string `yaml:"health_check" doc:"path that answers 200 when the service is well"`
	BuildPath   string `yaml:"build_path" doc:"directory of the build, below frontend_build_path"`
	Websocket   bool   `yaml:"websocket" doc:"long-lived connections that stay with one server"`
	Path        string `yaml:"path" doc:"path below the public address"`
}

// Autoscale bounds and times the scaling of web servers.
type Autoscale struct {
	Enabled                 bool         `yaml:"enabled" doc:"whether the web tier scales by itself"`
	MinServers              int          `yaml:"min_servers" doc:"fewest web servers" min:"1" max:"1000"`
	MaxServers              int          `yaml:"max_servers" doc:"most web servers" min:"1" max:"1000"`
	MaxConnectionsPerServer int          `yaml:"max_connections_per_server" doc:"above it a server is added" min:"1" max:"1000000"`
	MinConnectionsPerServer int          `yaml:"min_connections_per_server" doc:"below it a server is taken away" min:"0" max:"1000000"`
	MaxQueueLength          int          `yaml:"max_queue_length" doc:"above it a server is added" min:"0" max:"1000000"`
	CheckInterval           Seconds      `yaml:"check_interval" doc:"seconds between looks"`
	Cooldown                Seconds      `yaml:"cooldown" doc:"seconds of rest after a change"`
	Provider                Section      `yaml:"provider" doc:"where servers come from"`
	Schedule                []ScaleTimer `yaml:"schedule" doc:"sizes by the clock"`
}

// ScaleTimer sets a size at a time.
type ScaleTimer struct {
	At      string `yaml:"at" doc:"time of day as 09:00, or five cron fields"`
	Servers int    `yaml:"servers" doc:"number of web servers from then on" min:"1" max:"1000"`
}

// WebConfig is the public face of the web services.
type WebConfig struct {
	PublicURL string `yaml:"public_url" doc:"name or address people use"`
	SSL       SSL    `yaml:"ssl" doc:"certificate"`
}

// SSL says where the certificate comes from.
type SSL struct {
	Mode   string `yaml:"mode" doc:"where the certificate comes from" enum:"self_signed|letsencrypt|none"`
	Domain string `yaml:"domain" doc:"name in the certificate; empty is cluster_info.domain"`
	Email  string `yaml:"email" doc:"contact of the certificate; empty is cluster_info.admin_email"`
}

// SSO is single sign-on of the web services.
type SSO struct {
	Enabled          bool    `yaml:"enabled" doc:"whether people sign on once"`
	Type             string  `yaml:"type" doc:"protocol" enum:"saml|oidc"`
	SAML             Section `yaml:"saml" doc:"identity provider by SAML"`
	OIDC             Section `yaml:"oidc" doc:"identity provider by OpenID Connect"`
	AttributeMapping Section `yaml:"attribute_mapping" doc:"which attribute is the name, the address, the groups"`
	GroupPermissions Section `yaml:"group_permissions" doc:"what each group may do"`
}

// SAML holds users of a test identity provider.
type SAML struct {
	TestUsers Section `yaml:"test_users" doc:"users of a test identity provider"`
}

// Monitoring is Prometheus and what belongs to it.
type Monitoring struct {
	Enabled         bool     `yaml:"enabled" doc:"whether the cluster is monitored"`
	Prometheus      Section  `yaml:"prometheus" doc:"Prometheus: true, or its settings"`
	NodeExporter    Section  `yaml:"node_exporter" doc:"node exporter: true, or its settings"`
	MariaDBExporter Section  `yaml:"mariadb_exporter" doc:"MariaDB exporter: true, or its settings"`
	RedisExporter   Section  `yaml:"redis_exporter" doc:"Redis exporter: true, or its settings"`
	Grafana         Section  `yaml:"grafana" doc:"Grafana: true, or its settings"`
	Alerting        Alerting `yaml:"alerting" doc:"who hears of what"`
}

// Alerting is who hears of what.
type Alerting struct {
	Enabled  bool    `yaml:"enabled" doc:"whether alerts are sent"`
	Channels Section `yaml:"channels" doc:"where alerts go"`
	Rules    Section `yaml:"rules" doc:"what raises an alert"`
}

// ContainerSupport is Apptainer on the compute nodes.
type ContainerSupport struct {
	Apptainer Section `yaml:"apptainer" doc:"Apptainer: true, or its settings"`
}
