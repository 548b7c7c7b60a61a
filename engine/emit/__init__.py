"""Plans to text: every file that is generated. Nothing in here touches a disk or a database."""
