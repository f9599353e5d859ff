package config

import "time"

// Everything the file may leave out gets its value here and nowhere else.

// defaults returns a cluster with the value of every key that has one. Load
// reads the file over it.
func defaults() *Cluster {
	return &Cluster{
		Network: Network{
			VIP:      VIP{Netmask: 24, Interface: "auto", VRRPRouterID: 51},
			Firewall: Firewall{},
		},
		SharedStorage: SharedStorage{
			Type: StorageGlusterFS,
			GlusterFS: GlusterFSConfig{
				VolumeName: "shared_data",
				VolumeType: "replica",
				BrickPath:  "/data/glusterfs/brick",
				MountPoint: "/mnt/gluster",
			},
			NFS: NFS{MountPoint: "/mnt/shared"},
			Backup: Backup{
				Path:      "/data/system_backup",
				Retention: BackupRetention{Daily: 7, Weekly: 4, Monthly: 12},
				Items:     []string{"configs", "databases", "slurm_state", "glusterfs_meta"},
			},
		},
		Database: Database{
			Enabled: true,
			Type:    "mariadb-galera",
			MariaDB: MariaDBConfig{
				SSTUser: "sst_sync",
				Galera:  Galera{SSTMethod: "mariabackup", ClusterAddress: "auto", SlaveThreads: 4},
			},
		},
		Redis: RedisConfig{
			Enabled: true,
			Type:    RedisAuto,
			Cluster: RedisServer{
				Port:        6379,
				ClusterMode: true,
				// One copy of each master on another head: without it a lost
				// head takes its keys offline.
				Replicas: 1,
				// Measured with 1 s: every slot served again 2.0 to 3.0 s after a
				// head dies, and no failover in ten minutes of 5 % packet loss on
				// every head under load.
				ClusterNodeTimeout: Millis(time.Second),
				AppendOnly:         true,
				AppendFsync:        "everysec",
				MaxMemoryPolicy:    "noeviction",
			},
		},
		Slurm:            slurmDefaults(),
		HighAvailability: haDefaults(),
		Users: Users{
			SlurmUser: "slurm",
			// 64030 is the number Debian has set aside for the slurm account,
			// so a package installed earlier by hand has it already.
			SlurmUID: 64030,
			SlurmGID: 64030,
			// Debian gives munge a number of whichever are free, different on
			// each host. 64031 is in the same reserved range, which neither
			// packages' own accounts nor people's accounts are taken from.
			MungeUser: "munge",
			MungeUID:  64031,
			MungeGID:  64031,
		},
		Security: Security{JWT: JWT{Algorithm: "HS256", ExpirationHours: 8}},
		Cgroup: Cgroup{
			Enabled: true, ConstrainRAM: true, ConstrainDevices: true, ConstrainCores: true,
			AllowedRAMPercent: 100,
		},
		Time: Time{Enabled: true},
		Clustering: Clustering{
			AutoDiscovery: AutoDiscovery{
				Enabled: true, Timeout: Seconds(5 * time.Second), HealthCheckInterval: Seconds(5 * time.Second),
			},
			AutoJoin:       true,
			NodeManagement: NodeManagement{MinControllers: 1, MaxControllers: 10},
			StatusFormat:   "table",
		},
		WebServices: WebServices{Autoscale: Autoscale{
			MinServers: 2, MaxServers: 10,
			MaxConnectionsPerServer: 500, MinConnectionsPerServer: 50, MaxQueueLength: 20,
			CheckInterval: Seconds(30 * time.Second), Cooldown: Seconds(300 * time.Second),
		}},
		Web: WebConfig{SSL: SSL{Mode: "self_signed"}},
	}
}

func slurmDefaults() SlurmConfig {
	return SlurmConfig{
		ConfigPath:  "/etc/slurm",
		LogPath:     "/var/log/slurm",
		SpoolPath:   "/var/spool/slurmd",
		MultiMaster: MultiMaster{Enabled: true},
		Accounting: Accounting{
			Enabled:     true,
			StorageType: "accounting_storage/slurmdbd",
			StorageHost: "127.0.0.1",
			StoragePort: 6819,
			StorageLoc:  "slurm_acct_db",
			GatherFreq:  30,
		},
		Scheduler: Scheduler{
			Type:             "sched/backfill",
			SelectType:       "select/cons_tres",
			SelectParameters: Items{"CR_Core_Memory"},
			PriorityType:     "priority/multifactor",
			// A compute node that was unreachable while heads changed comes
			// back by itself; one an administrator drained does not.
			ReturnToService: 1,
		},
	}
}

func haDefaults() HighAvailability {
	return HighAvailability{Keepalived: KeepalivedHA{HealthCheck: HealthCheck{
		Interval: Seconds(time.Second), Fall: 2, Rise: 2,
	}}}
}

// hostDefaults are those of every host.
func hostDefaults() HostSpec { return HostSpec{SSHUser: "root", SSHPort: 22} }

// controllerDefaults are those of one entry of nodes.controllers.
func controllerDefaults() Controller {
	return Controller{HostSpec: hostDefaults(), NodeType: "controller"}
}

// computeDefaults are those of one entry of nodes.compute_nodes and
// nodes.viz_nodes; nodeType is the list it stands in.
func computeDefaults(nodeType string) ComputeNode {
	return ComputeNode{HostSpec: hostDefaults(), NodeType: nodeType}
}

// partitionDefaults are those of one entry of slurm_config.partitions.
func partitionDefaults() Partition {
	return Partition{MaxTime: "UNLIMITED", State: "UP"}
}
