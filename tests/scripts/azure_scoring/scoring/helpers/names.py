NAMES = ["setosa", "versicolor", "virginica"]
