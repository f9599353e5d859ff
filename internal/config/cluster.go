package config

import "net/netip"

// Cluster is my_multihead_cluster.yaml, typed, with the defaults of
// defaults.go filled in and ${NAME} resolved. Load makes it; nothing changes
// it afterwards.
//
// Struct tags are the one description of the format: the strict decoder, the
// JSON Schema, `config show` and the key reference in docs/ all read them.
//
//	yaml:"key,alias=old"  the key, and older names that load as well
//	doc:"…"               what it means, for the reference and the schema
//	enum:"a|b"            the only values allowed
//	min:"1" max:"254"     the bounds of a number
//	later:"web"           loads, but this release does not act on it yet
type Cluster struct {
	ConfigVersion string      `yaml:"config_version" doc:"version of the file format the file was written for; informative"`
	Stage         string      `yaml:"stage" doc:"the site's own label for how far its rollout is; informative"`
	Info          ClusterInfo `yaml:"cluster_info" doc:"the cluster as a whole"`
	Nodes         Nodes       `yaml:"nodes" doc:"the machines"`
	Witnesses     []Witness   `yaml:"witnesses" doc:"small hosts that vote and hold no data (garbd, a Redis sentinel, a Gluster arbiter); they make an even number of heads safe"`
	Network       Network     `yaml:"network" doc:"networks, the virtual address, the firewall"`

	SharedStorage    SharedStorage    `yaml:"shared_storage" doc:"the storage every head sees"`
	Database         Database         `yaml:"database" doc:"MariaDB Galera"`
	Redis            RedisConfig      `yaml:"redis" doc:"Redis Cluster, or Sentinel"`
	Slurm            SlurmConfig      `yaml:"slurm_config" doc:"Slurm"`
	HighAvailability HighAvailability `yaml:"high_availability" doc:"health checks and automatic recovery"`
	Fencing          Fencing          `yaml:"fencing" doc:"how a head is proven dead before another takes over"`
	Users            Users            `yaml:"users" doc:"service accounts, the same on every host"`
	Security         Security         `yaml:"security" doc:"munge key, SELinux, tokens of the web services"`
	Cgroup           Cgroup           `yaml:"cgroup" doc:"cgroup.conf: what a job may use"`
	Time             Time             `yaml:"time_synchronization" doc:"chrony on all hosts"`
	Clustering       Clustering       `yaml:"clustering" doc:"discovery and the size of the cluster"`
	Installation     Installation     `yaml:"installation" doc:"where packages come from"`

	Environment map[string]Secret `yaml:"environment" doc:"values for ${NAME} in this file; the process environment comes first"`

	WebServices      WebServices      `yaml:"web_services" doc:"the site's web services" later:"web"`
	Web              WebConfig        `yaml:"web" doc:"public address and certificate of the web services" later:"web"`
	SSO              SSO              `yaml:"sso" doc:"single sign-on of the web services" later:"sso"`
	SAML             SAML             `yaml:"saml" doc:"test users of single sign-on" later:"sso"`
	Monitoring       Monitoring       `yaml:"monitoring" doc:"Prometheus, exporters, Grafana, alerts" later:"monitoring"`
	ContainerSupport ContainerSupport `yaml:"container_support" doc:"Apptainer on compute nodes" later:"container_support"`
	GPUComputing     Section          `yaml:"gpu_computing" doc:"GPU drivers and CUDA on compute nodes" later:"gpu_computing"`
	MPISupport       Section          `yaml:"mpi_support" doc:"MPI libraries on compute nodes" later:"mpi_support"`

	// src is a function because fmt prints what unexported fields hold, through
	// pointers as well and without asking their methods, and the file holds
	// passwords.
	src func() *source
}

// ClusterInfo names the cluster and says how to get in for the first time.
type ClusterInfo struct {
	ClusterName string `yaml:"cluster_name" doc:"name of the cluster: Galera cluster name and Slurm ClusterName (there a - becomes _)"`
	Domain      string `yaml:"domain" doc:"DNS domain; the name in the certificate"`
	AdminEmail  string `yaml:"admin_email" doc:"recipient of alerts"`
	Timezone    string `yaml:"timezone" doc:"time zone of all hosts, such as Asia/Seoul"`
	SSHPassword Secret `yaml:"ssh_password" doc:"common password of ssh_user: used once to install keys, and for sudo where it asks"`
}

// Nodes lists the machines by what they are for.
type Nodes struct {
	Controllers  []Controller  `yaml:"controllers" doc:"the heads, 1 to 10"`
	ComputeNodes []ComputeNode `yaml:"compute_nodes" doc:"Slurm compute nodes"`
	VizNodes     []ComputeNode `yaml:"viz_nodes" doc:"visualisation nodes; Slurm nodes like the compute nodes"`
}

// HostSpec is how a machine is reached. Every kind of host has one.
type HostSpec struct {
	Hostname   string     `yaml:"hostname" doc:"the machine's own short name"`
	Address    netip.Addr `yaml:"ip_address,alias=ip" doc:"the address the other hosts reach it at"`
	SSHUser    string     `yaml:"ssh_user" doc:"login; not root means sudo"`
	SSHPort    int        `yaml:"ssh_port" doc:"SSH port" min:"1" max:"65535"`
	SSHKeyPath string     `yaml:"ssh_key_path" doc:"private key; empty means the agent and the usual files"`
	OSType     string     `yaml:"os_type" doc:"operating system, informative: it is asked of the host itself"`
}

// Controller is one head.
type Controller struct {
	HostSpec `yaml:",inline"`
	Priority int      `yaml:"priority" doc:"VRRP priority, different on every head; the highest holds the virtual address" min:"1" max:"254"`
	VIPOwner bool     `yaml:"vip_owner" doc:"this head should hold the virtual address when all is well; one head only, the one with the highest priority"`
	Services Services `yaml:"services" doc:"what this head runs"`
	NodeType string   `yaml:"node_type" doc:"informative" enum:"controller|head|compute|viz"`
	Hardware Hardware `yaml:"hardware" doc:"informative for a head"`
}

// Services says which services a head runs; absent means no.
type Services struct {
	GlusterFS  bool `yaml:"glusterfs" doc:"a brick of the shared volume"`
	MariaDB    bool `yaml:"mariadb" doc:"a Galera node"`
	Redis      bool `yaml:"redis" doc:"a Redis node"`
	Slurm      bool `yaml:"slurm" doc:"slurmctld and slurmdbd"`
	Web        bool `yaml:"web" doc:"the web services" later:"web"`
	Keepalived bool `yaml:"keepalived" doc:"may hold the virtual address"`
}

// ComputeNode is one Slurm node, compute or visualisation.
type ComputeNode struct {
	HostSpec `yaml:",inline"`
	NodeType string   `yaml:"node_type" doc:"compute or viz" enum:"compute|viz"`
	Hardware Hardware `yaml:"hardware" doc:"what Slurm is told the node has"`
}

// Hardware is what slurm.conf says about a node. Zero means not given.
type Hardware struct {
	CPUs           int    `yaml:"cpus" doc:"logical CPUs" min:"1" max:"65535"`
	Sockets        int    `yaml:"sockets" doc:"sockets" min:"1" max:"1024"`
	CoresPerSocket int    `yaml:"cores_per_socket" doc:"cores of one socket" min:"1" max:"4096"`
	ThreadsPerCore int    `yaml:"threads_per_core" doc:"threads of one core" min:"1" max:"16"`
	MemoryMB       int    `yaml:"memory_mb" doc:"memory in MiB that jobs may have" min:"1" max:"1000000000"`
	TmpDiskMB      int    `yaml:"tmp_disk_mb" doc:"scratch space in MiB" min:"0" max:"1000000000"`
	DiskGB         int    `yaml:"disk_gb" doc:"disk in GiB, informative" min:"0" max:"100000000"`
	GPUs           int    `yaml:"gpus" doc:"number of GPUs" min:"0" max:"1024"`
	GPUType        string `yaml:"gpu_type" doc:"GPU model as Slurm names it, such as a100"`
	GRES           Items  `yaml:"gres" doc:"generic resources as Slurm writes them, such as gpu:a100:2"`
	Features       Items  `yaml:"features" doc:"features of the node, for --constraint"`
}

// Witness is a small host that votes and holds no data.
type Witness struct {
	HostSpec `yaml:",inline"`
}

// Network holds the networks and the virtual address.
type Network struct {
	ManagementNetwork netip.Prefix `yaml:"management_network" doc:"network of the heads' addresses, as 192.168.1.0/24"`
	ComputeNetwork    netip.Prefix `yaml:"compute_network" doc:"network of the compute nodes' addresses, where it is another one"`
	VIP               VIP          `yaml:"vip" doc:"the virtual address; may also be written as a plain address"`
	Firewall          Firewall     `yaml:"firewall" doc:"host firewall" later:"firewall"`
}

// VIP is the virtual address that one healthy head holds. Without an address
// there is none.
type VIP struct {
	Address      netip.Addr `yaml:"address" doc:"the virtual address; in the heads' network and nobody's own"`
	Netmask      int        `yaml:"netmask" doc:"prefix length" min:"1" max:"128"`
	Interface    string     `yaml:"interface" doc:"network interface; auto is the one that has the head's address"`
	VRRPRouterID int        `yaml:"vrrp_router_id" doc:"VRRP id, different from every other VRRP group of the network" min:"1" max:"255"`
	AuthPassword Secret     `yaml:"auth_password" doc:"not used: VRRP 3 has no password; adverts go from head to head and are taken from the listed heads only"`
}

// Firewall lists the ports that are opened between hosts of the cluster.
type Firewall struct {
	Enabled bool                `yaml:"enabled" doc:"whether the host firewall is managed"`
	Ports   map[string]PortList `yaml:"ports" doc:"more ports to open between cluster hosts: name to port, list of ports, or range as 7000-7010"`
}

// Fencing lists the devices that switch a head off for certain.
type Fencing struct {
	Enabled bool          `yaml:"enabled" doc:"whether heads are fenced"`
	Devices []FenceDevice `yaml:"devices" doc:"one device for each head, or several that are tried in order; each takes all power away by itself"`
	Order   []string      `yaml:"order" doc:"agents in the order in which a head's devices are tried"`
}

// FenceDevice is one fence agent of the distribution and its options.
type FenceDevice struct {
	Node    string       `yaml:"node" doc:"hostname of the head it switches off"`
	Agent   string       `yaml:"agent" doc:"fence agent, such as fence_ipmilan, fence_redfish or fence_virsh"`
	Options FenceOptions `yaml:"options" doc:"options of the agent, given to it on standard input"`
}

// FenceOptions are the options of a fence agent by name. They are kept as
// secrets, because some are.
type FenceOptions map[string]Secret
