package config

// SlurmConfig is the workload manager.
type SlurmConfig struct {
	Version           string      `yaml:"version" doc:"version the site expects on heads and compute nodes; informative: the distribution's is installed"`
	InstallPath       string      `yaml:"install_path" doc:"prefix of a Slurm that was not installed from packages; empty means packages" later:"install_path"`
	ConfigPath        string      `yaml:"config_path" doc:"directory of slurm.conf"`
	LogPath           string      `yaml:"log_path" doc:"directory of the log files on each host"`
	SpoolPath         string      `yaml:"spool_path" doc:"SlurmdSpoolDir of compute nodes"`
	StateSaveLocation string      `yaml:"state_save_location" doc:"StateSaveLocation, on the shared storage; empty is slurm/state below its mount point"`
	MultiMaster       MultiMaster `yaml:"multi_master" doc:"slurmctld on several heads"`
	Accounting        Accounting  `yaml:"accounting" doc:"accounting through slurmdbd"`
	Scheduler         Scheduler   `yaml:"scheduler" doc:"scheduling and selection of resources"`
	Partitions        []Partition `yaml:"partitions" doc:"partitions"`
}

// MultiMaster is slurmctld on several heads.
type MultiMaster struct {
	Enabled     bool     `yaml:"enabled" doc:"false runs slurmctld on the first head only"`
	Controllers HostList `yaml:"controllers" doc:"auto is the heads with slurm by priority; or hostnames of those heads, the primary first"`
}

// Accounting is where job records go.
type Accounting struct {
	Enabled     bool   `yaml:"enabled" doc:"whether jobs are accounted"`
	StorageType string `yaml:"storage_type" doc:"AccountingStorageType" enum:"accounting_storage/slurmdbd|accounting_storage/none"`
	StorageHost string `yaml:"storage_host" doc:"host of slurmdbd as slurmctld sees it: each head asks its own"`
	StoragePort int    `yaml:"storage_port" doc:"port of slurmdbd" min:"1" max:"65535"`
	StorageUser string `yaml:"storage_user" doc:"database account of slurmdbd; empty is the user of the database slurm_acct_db"`
	StoragePass Secret `yaml:"storage_pass" doc:"its password; empty is the one of the database slurm_acct_db"`
	StorageLoc  string `yaml:"storage_loc" doc:"database of slurmdbd"`
	Enforce     Items  `yaml:"enforce" doc:"AccountingStorageEnforce, such as associations, limits, qos"`
	GatherType  string `yaml:"gather_type" doc:"JobAcctGatherType; empty is jobacct_gather/cgroup where cgroup.enabled, else jobacct_gather/linux"`
	GatherFreq  int    `yaml:"gather_frequency" doc:"JobAcctGatherFrequency, in seconds" min:"0" max:"86400"`
	Rest        Rest   `yaml:",rest"`
}

// Scheduler is how jobs are ordered and placed.
type Scheduler struct {
	Type             string `yaml:"type" doc:"SchedulerType" enum:"sched/backfill|sched/builtin"`
	Parameters       Items  `yaml:"parameters" doc:"SchedulerParameters"`
	SelectType       string `yaml:"select_type" doc:"SelectType" enum:"select/cons_tres|select/linear"`
	SelectParameters Items  `yaml:"select_type_parameters" doc:"SelectTypeParameters, such as CR_Core_Memory"`
	PriorityType     string `yaml:"priority_type" doc:"PriorityType" enum:"priority/basic|priority/multifactor"`
	MaxJobCount      int    `yaml:"max_job_count" doc:"MaxJobCount; 0 leaves Slurm's own" min:"0" max:"100000000"`
	MaxArraySize     int    `yaml:"max_array_size" doc:"MaxArraySize; 0 leaves Slurm's own" min:"0" max:"4000001"`
	ReturnToService  int    `yaml:"return_to_service" doc:"ReturnToService: 1 takes back nodes that were down for not answering, 2 whatever the reason was" min:"0" max:"2"`
	Rest             Rest   `yaml:",rest"`
}

// Partition is one PartitionName line.
type Partition struct {
	Name      string   `yaml:"name" doc:"name of the partition"`
	Nodes     HostList `yaml:"nodes" doc:"nodes as a hostlist, node[001-010,015]; ALL is every compute and visualisation node"`
	Default   bool     `yaml:"default" doc:"where jobs without --partition go; one partition only"`
	MaxTime   string   `yaml:"max_time" doc:"longest job: days-hours:minutes:seconds, minutes, or UNLIMITED"`
	MaxNodes  Count    `yaml:"max_nodes" doc:"most nodes of one job; auto is no limit" max:"1000000"`
	State     string   `yaml:"state" doc:"UP takes and runs jobs, DRAIN runs what it has, INACTIVE neither, DOWN takes only" enum:"UP|DOWN|DRAIN|INACTIVE"`
	GRES      Items    `yaml:"gres" doc:"resources that jobs of the partition use; at least one of its nodes must have each of them"`
	Exclusive bool     `yaml:"exclusive" doc:"whole nodes only"`
}

// HighAvailability says how health is judged and what heals by itself.
type HighAvailability struct {
	Keepalived   KeepalivedHA `yaml:"keepalived" doc:"health of a head as keepalived sees it"`
	AutoRecovery AutoRecovery `yaml:"auto_recovery" doc:"what the agent may bring back by itself" later:"auto_recovery"`
}

// KeepalivedHA is the health check that moves the virtual address.
type KeepalivedHA struct {
	HealthCheck   HealthCheck `yaml:"health_check" doc:"when a head counts as unhealthy" later:"health_check"`
	Notifications Section     `yaml:"notifications" doc:"whom to tell when the virtual address moves" later:"notifications"`
}

// HealthCheck is a track of keepalived.
type HealthCheck struct {
	Interval Seconds `yaml:"interval" doc:"seconds between checks"`
	Weight   int     `yaml:"weight" doc:"kept for older files: an unhealthy head gives the virtual address up whatever the weight" min:"-253" max:"253"`
	Fall     int     `yaml:"fall" doc:"failures in a row that make a head unhealthy" min:"1" max:"100"`
	Rise     int     `yaml:"rise" doc:"successes in a row that make it healthy again" min:"1" max:"100"`
}

// AutoRecovery says what the agent may bring back by itself.
type AutoRecovery struct {
	Galera Section `yaml:"galera" doc:"restart and rejoin Galera nodes"`
	Redis  Section `yaml:"redis" doc:"restart and rejoin Redis nodes"`
}

// Users are the accounts of the services. Slurm and munge refuse to work
// together when the numbers differ between hosts.
type Users struct {
	SlurmUser    string        `yaml:"slurm_user" doc:"account of slurmctld and slurmdbd"`
	SlurmUID     int           `yaml:"slurm_uid" doc:"its user id, the same on every host" min:"1" max:"4294967293"`
	SlurmGID     int           `yaml:"slurm_gid" doc:"its group id" min:"1" max:"4294967293"`
	MungeUser    string        `yaml:"munge_user" doc:"account of munged"`
	MungeUID     int           `yaml:"munge_uid" doc:"its user id, the same on every host" min:"1" max:"4294967293"`
	MungeGID     int           `yaml:"munge_gid" doc:"its group id" min:"1" max:"4294967293"`
	ClusterUsers []ClusterUser `yaml:"cluster_users" doc:"people's accounts, made on every host with the same numbers"`
}

// ClusterUser is a person's account on every host.
type ClusterUser struct {
	Name   string `yaml:"name,alias=username" doc:"login name"`
	UID    int    `yaml:"uid" doc:"user id" min:"1000" max:"4294967293"`
	GID    int    `yaml:"gid" doc:"group id; 0 is the same number as uid" min:"0" max:"4294967293"`
	Groups Items  `yaml:"groups" doc:"further groups"`
	Shell  string `yaml:"shell" doc:"login shell"`
	Home   string `yaml:"home" doc:"home directory"`
}

// Security holds keys and tokens.
type Security struct {
	Munge   MungeKey `yaml:"munge" doc:"the key all hosts share" later:"munge_rotation"`
	SELinux string   `yaml:"selinux" doc:"mode on hosts that have SELinux; empty leaves it as it is" enum:"enforcing|permissive|disabled" later:"selinux"`
	JWT     JWT      `yaml:"jwt" doc:"tokens of the web services" later:"web"`
}

// MungeKey is the age at which the munge key is replaced.
type MungeKey struct {
	KeyRotationDays int `yaml:"key_rotation_days" doc:"days after which the key is due for replacement; 0 is never" min:"0" max:"36500"`
}

// JWT signs the tokens of the web services.
type JWT struct {
	SecretKey       Secret `yaml:"secret_key" doc:"signing key"`
	Algorithm       string `yaml:"algorithm" doc:"signature" enum:"HS256|HS384|HS512|RS256|ES256"`
	ExpirationHours int    `yaml:"expiration_hours" doc:"hours a token is good for" min:"1" max:"87600"`
}

// Cgroup is cgroup.conf of the compute nodes.
type Cgroup struct {
	Enabled            bool `yaml:"enabled" doc:"confine jobs by cgroups"`
	ConstrainRAM       bool `yaml:"constrain_ram" doc:"ConstrainRAMSpace: a job gets the memory it asked for"`
	ConstrainSwap      bool `yaml:"constrain_swap" doc:"ConstrainSwapSpace"`
	ConstrainDevices   bool `yaml:"constrain_devices" doc:"ConstrainDevices: a job sees the GPUs it asked for"`
	ConstrainCores     bool `yaml:"constrain_cores" doc:"ConstrainCores: a job runs on the cores it asked for"`
	AllowedRAMPercent  int  `yaml:"allowed_ram_percent" doc:"AllowedRAMSpace" min:"1" max:"100"`
	AllowedSwapPercent int  `yaml:"allowed_swap_percent" doc:"AllowedSwapSpace" min:"0" max:"100"`
}

// Time is chrony on all hosts.
type Time struct {
	Enabled    bool     `yaml:"enabled" doc:"whether chrony is managed"`
	NTPServers []string `yaml:"ntp_servers" doc:"time servers; without any, the heads keep time among themselves and serve the rest"`
	Timezone   string   `yaml:"timezone" doc:"empty is cluster_info.timezone"`
}

// Clustering is discovery and the size of the cluster.
type Clustering struct {
	AutoDiscovery  AutoDiscovery  `yaml:"auto_discovery" doc:"looking for the cluster before anything is changed"`
	AutoJoin       bool           `yaml:"auto_join" doc:"whether a head without data joins the cluster that up finds" later:"clustering"`
	NodeManagement NodeManagement `yaml:"node_management" doc:"how small and how large the cluster may get" later:"clustering"`
	StatusFormat   string         `yaml:"status_format" doc:"how status prints when -o is not given" enum:"table|wide|json|yaml" later:"clustering"`
}

// AutoDiscovery is how discover asks.
type AutoDiscovery struct {
	Enabled             bool    `yaml:"enabled" doc:"false means up needs --bootstrap, --join or --standalone" later:"clustering"`
	Timeout             Seconds `yaml:"timeout" doc:"seconds one head has to answer"`
	HealthCheckInterval Seconds `yaml:"health_check_interval" doc:"seconds between the agent's looks" later:"clustering"`
}

// NodeManagement bounds node add and node remove.
type NodeManagement struct {
	MinControllers int `yaml:"min_controllers" doc:"node remove refuses to go below" min:"1" max:"10"`
	MaxControllers int `yaml:"max_controllers" doc:"node add refuses to go above" min:"1" max:"10"`
}

// Installation is where packages come from.
type Installation struct {
	OfflineMode       bool               `yaml:"offline_mode" doc:"the site has no internet: packages come from offline_package_dir, or where that is not set from the sources that the hosts have, and time from no server outside"`
	OfflinePackageDir string             `yaml:"offline_package_dir" doc:"directory of the package bundle on the machine that runs up; beside this file where it does not begin with /"`
	PackageCachePath  string             `yaml:"package_cache_path" doc:"where the bundle's package files are kept on the hosts; empty is /var/cache/multihead-bundle"`
	AutoConfirm       bool               `yaml:"auto_confirm" doc:"the same as --yes; what can lose data asks all the same" later:"installation"`
	Timeouts          map[string]Seconds `yaml:"timeouts" doc:"time limits by phase name, in seconds" later:"installation"`
	Phases            map[string]bool    `yaml:"phases" doc:"phases by name; false leaves one out" later:"installation"`
}
