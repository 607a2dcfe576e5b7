from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("configservice", "0007_instance_away_since"),
    ]

    operations = [
        migrations.AddField(
            model_name="move",
            name="claims",
            field=models.PositiveBigIntegerField(default=0, help_text="how often a mover has claimed the move"),
        ),
    ]
