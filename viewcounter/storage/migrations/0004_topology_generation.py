from django.db import migrations

from viewcounter.storage.named_sql import read_script


class Migration(migrations.Migration):
    dependencies = [("storage", "0003_worker_leases")]
    operations = [migrations.RunSQL(read_script("0004_topology_generation.sql"), migrations.RunSQL.noop)]
