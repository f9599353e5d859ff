package config

// Values of SharedStorage.Type.
const (
	StorageGlusterFS = "glusterfs"
	StorageNFS       = "nfs"
	StorageExisting  = "existing"
)

// SharedStorage is the storage that every head sees.
type SharedStorage struct {
	Type       string          `yaml:"type" doc:"where the shared directory comes from; existing is a directory that is mounted already" enum:"glusterfs|nfs|existing"`
	MountPoint string          `yaml:"mount_point" doc:"for type existing: the directory that is mounted already"`
	GlusterFS  GlusterFSConfig `yaml:"glusterfs" doc:"a replicated volume on the heads"`
	NFS        NFS             `yaml:"nfs" doc:"an export of another machine"`
	Backup     Backup          `yaml:"backup" doc:"snapshots of the cluster's state on each head's local disk"`
}

// GlusterFSConfig is a replicated volume with a brick on each head that has
// services.glusterfs.
type GlusterFSConfig struct {
	VolumeName   string            `yaml:"volume_name" doc:"name of the volume"`
	VolumeType   string            `yaml:"volume_type" doc:"only replica is supported: every head holds all data" enum:"replica"`
	ReplicaCount Count             `yaml:"replica_count" doc:"copies; auto is the number of heads with glusterfs" max:"10"`
	BrickPath    string            `yaml:"brick_path" doc:"directory of the brick on each head, on a disk of its own"`
	MountPoint   string            `yaml:"mount_point" doc:"where every head mounts the volume"`
	Options      map[string]string `yaml:"options" doc:"volume options as gluster volume set takes them; they win over the built-in ones"`
	Directories  []string          `yaml:"directories" doc:"directories made on the volume, relative to it"`
}

// NFS is an export of a machine that is not part of the cluster.
type NFS struct {
	Server     string `yaml:"server" doc:"name or address of the NFS server"`
	Export     string `yaml:"export" doc:"exported path"`
	MountPoint string `yaml:"mount_point" doc:"where every head mounts it"`
	Options    string `yaml:"options" doc:"mount options"`
}

// Backup is what is kept, where, how often and for how long.
type Backup struct {
	Enabled   bool            `yaml:"enabled" doc:"whether backups are made"`
	Path      string          `yaml:"path" doc:"directory on each head's local disk"`
	Schedule  BackupSchedule  `yaml:"schedule" doc:"when, in cron syntax"`
	Retention BackupRetention `yaml:"retention" doc:"how many are kept"`
	Items     []string        `yaml:"items" doc:"what is backed up: databases are MariaDB's and Redis's; volume is the files on the shared volume; empty is all but volume" enum:"configs|databases|slurm_state|glusterfs_meta|volume"`
	Offsite   Offsite         `yaml:"offsite" doc:"a second repository, away from the cluster, that every snapshot is copied to"`
}

// Offsite is where every snapshot is copied to, beside the heads.
type Offsite struct {
	Repository string `yaml:"repository" doc:"a directory on a disk of its own, or sftp: or rest: as restic takes them; empty is none"`
	User       string `yaml:"user" doc:"for rest: who asks"`
	Password   Secret `yaml:"password" doc:"for rest: the server's password; that of the repository is the cluster's own"`
}

// BackupSchedule is in cron syntax.
type BackupSchedule struct {
	FullBackup  string `yaml:"full_backup" doc:"full backup, five cron fields"`
	Incremental string `yaml:"incremental" doc:"incremental backup, five cron fields"`
}

// BackupRetention counts snapshots.
type BackupRetention struct {
	Daily   int `yaml:"daily" doc:"daily snapshots kept" min:"0" max:"10000"`
	Weekly  int `yaml:"weekly" doc:"weekly snapshots kept" min:"0" max:"10000"`
	Monthly int `yaml:"monthly" doc:"monthly snapshots kept" min:"0" max:"10000"`
}

// Database is the database of Slurm accounting and of the web services.
type Database struct {
	Enabled bool          `yaml:"enabled" doc:"false leaves the database out on every head"`
	Type    string        `yaml:"type" doc:"only mariadb-galera is supported" enum:"mariadb-galera"`
	MariaDB MariaDBConfig `yaml:"mariadb" doc:"MariaDB"`
}

// MariaDBConfig is the database server.
type MariaDBConfig struct {
	Version      string            `yaml:"version" doc:"version the site expects; informative: the distribution's is installed"`
	RootPassword Secret            `yaml:"root_password" doc:"password of root; on the host itself root gets in by unix_socket without it"`
	SSTUser      string            `yaml:"sst_user" doc:"not used: state transfers are made as mysql@localhost over the socket, without a password; read for older files"`
	SSTPassword  Secret            `yaml:"sst_password" doc:"not used, as sst_user is not"`
	Galera       Galera            `yaml:"galera" doc:"the Galera cluster"`
	Databases    []DatabaseSpec    `yaml:"databases" doc:"databases and their users, made when missing"`
	Config       map[string]string `yaml:"config" doc:"more settings of the [mysqld] section; they win over the built-in ones"`
}

// Galera is the replication of MariaDB.
type Galera struct {
	ClusterName    string `yaml:"cluster_name" doc:"wsrep_cluster_name; empty is cluster_info.cluster_name"`
	SSTMethod      string `yaml:"sst_method" doc:"how a joining head gets all data; mariabackup keeps the donor serving" enum:"mariabackup|rsync|mysqldump"`
	ClusterAddress string `yaml:"cluster_address" doc:"auto is the heads with mariadb; anything else must name the same hosts"`
	SlaveThreads   int    `yaml:"slave_threads" doc:"threads that apply what other heads wrote" min:"1" max:"512"`
}

// DatabaseSpec is one database with the user that owns it.
type DatabaseSpec struct {
	Name     string `yaml:"name" doc:"name of the database"`
	User     string `yaml:"user" doc:"account with all rights on it"`
	Password Secret `yaml:"password" doc:"its password"`
}

// Values of Redis.Type.
const (
	RedisAuto     = "auto"
	RedisCluster  = "cluster"
	RedisSentinel = "sentinel"
	// RedisStandalone is what RedisMode says of one head; it is not a type.
	RedisStandalone = "standalone"
)

// RedisConfig is the cache and session store.
type RedisConfig struct {
	Enabled bool        `yaml:"enabled" doc:"false leaves Redis out on every head"`
	Type    string      `yaml:"type" doc:"cluster needs 3 heads; auto is cluster from 3 heads on, sentinel with 2, one server with 1" enum:"auto|cluster|sentinel"`
	Cluster RedisServer `yaml:"cluster" doc:"settings, for sentinel as well"`
}

// RedisServer is what every Redis server of the cluster is told.
type RedisServer struct {
	Port               int      `yaml:"port" doc:"port; the cluster bus is 10000 above" min:"1" max:"55535"`
	Password           Secret   `yaml:"password" doc:"password of clients and replicas"`
	ClusterMode        bool     `yaml:"cluster_mode" doc:"false means no Redis Cluster, as type sentinel"`
	Replicas           int      `yaml:"replicas" doc:"copies of each master on other heads" min:"0" max:"9"`
	Nodes              HostList `yaml:"nodes" doc:"auto is the heads with redis; or hostnames of those heads"`
	ClusterNodeTimeout Millis   `yaml:"cluster_node_timeout" doc:"silence after which a node counts as failed, in milliseconds"`
	AppendOnly         bool     `yaml:"appendonly" doc:"write every change to disk"`
	AppendFsync        string   `yaml:"appendfsync" doc:"when the disk is flushed" enum:"always|everysec|no"`
	MaxMemory          string   `yaml:"maxmemory" doc:"memory limit, such as 2gb; empty means no limit"`
	MaxMemoryPolicy    string   `yaml:"maxmemory_policy" doc:"what goes when memory is full" enum:"noeviction|allkeys-lru|allkeys-lfu|allkeys-random|volatile-lru|volatile-lfu|volatile-random|volatile-ttl"`
}
