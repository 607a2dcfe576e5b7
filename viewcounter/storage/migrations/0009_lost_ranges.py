from django.db import migrations

from viewcounter.storage.named_sql import read_script


class Migration(migrations.Migration):
    dependencies = [("storage", "0008_producers")]
    operations = [migrations.RunSQL(read_script("0009_lost_ranges.sql"), migrations.RunSQL.noop)]
