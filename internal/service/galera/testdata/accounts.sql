CREATE DATABASE IF NOT EXISTS `slurm_acct_db` CHARACTER SET utf8mb4
    back: DROP DATABASE IF EXISTS `slurm_acct_db`
CREATE DATABASE IF NOT EXISTS `portal` CHARACTER SET utf8mb4
    back: DROP DATABASE IF EXISTS `portal`
CREATE USER IF NOT EXISTS 'slurm'@'localhost' IDENTIFIED VIA mysql_native_password USING '*EA3254CC24049EBE8C216AEBA468A399FE8C9D3E'
    back: DROP USER IF EXISTS 'slurm'@'localhost'
GRANT ALL PRIVILEGES ON `slurm\_acct\_db`.* TO 'slurm'@'localhost'
    back: 
GRANT ALL PRIVILEGES ON `portal`.* TO 'slurm'@'localhost'
    back: 
CREATE USER IF NOT EXISTS 'slurm'@'127.0.0.1' IDENTIFIED VIA mysql_native_password USING '*EA3254CC24049EBE8C216AEBA468A399FE8C9D3E'
    back: DROP USER IF EXISTS 'slurm'@'127.0.0.1'
GRANT ALL PRIVILEGES ON `slurm\_acct\_db`.* TO 'slurm'@'127.0.0.1'
    back: 
GRANT ALL PRIVILEGES ON `portal`.* TO 'slurm'@'127.0.0.1'
    back: 
CREATE USER IF NOT EXISTS 'slurm'@'192.0.2.0/255.255.255.0' IDENTIFIED VIA mysql_native_password USING '*EA3254CC24049EBE8C216AEBA468A399FE8C9D3E'
    back: DROP USER IF EXISTS 'slurm'@'192.0.2.0/255.255.255.0'
GRANT ALL PRIVILEGES ON `slurm\_acct\_db`.* TO 'slurm'@'192.0.2.0/255.255.255.0'
    back: 
GRANT ALL PRIVILEGES ON `portal`.* TO 'slurm'@'192.0.2.0/255.255.255.0'
    back: 
CREATE USER IF NOT EXISTS 'mysql'@'localhost' IDENTIFIED VIA unix_socket
    back: DROP USER IF EXISTS 'mysql'@'localhost'
GRANT RELOAD, PROCESS, LOCK TABLES, BINLOG MONITOR, SLAVE MONITOR ON *.* TO 'mysql'@'localhost'
    back: 
CREATE USER IF NOT EXISTS 'root'@'localhost' IDENTIFIED VIA unix_socket OR mysql_native_password USING '*450B870611ADD560AD3B38646322C26160E876B4'
    back: DROP USER IF EXISTS 'root'@'localhost'
